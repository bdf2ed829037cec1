//! What weft says of a resource as a whole, in its metadata.
use weft_ir::{Feature, ServiceKey};
use weft_model::ObjectRef;
use weft_proto::{
    envoy::config::core::v3::Metadata,
    weft::{Balancing, Breaker, ResourceMetadata},
};

use super::{
    common::{annotate, annotation, origin, read_origin, shorten},
    fault::{Fault, Within, fault},
};

/// The metadata of a resource; nothing where there is nothing to say.
pub(super) fn resource_metadata(
    needs: impl IntoIterator<Item = Feature>,
    origins: &[ObjectRef],
    service: Option<&ServiceKey>,
) -> Option<Metadata> {
    write(needs, origins, ResourceMetadata { service: service.map(ToString::to_string).unwrap_or_default(), ..empty() })
}

/// Reads the metadata of a resource: an unknown need refuses it. Returns its origins and its service port's text.
pub(super) fn read_resource_metadata(metadata: Option<Metadata>) -> Result<(Vec<ObjectRef>, String), Fault> {
    let Read { origins, service, of_cluster } = read(metadata)?;
    match of_cluster {
        OfCluster { breaker: None, balancing: None } => Ok((origins, service)),
        OfCluster { breaker: Some(_), .. } => Err(fault("metadata.breaker", "only a cluster has one")),
        OfCluster { .. } => Err(fault("metadata.balancing", "only a cluster has it")),
    }
}

/// What only the metadata of a cluster has.
#[derive(Default)]
pub(super) struct OfCluster {
    pub(super) breaker: Option<Breaker>,
    pub(super) balancing: Option<Balancing>,
}

/// The metadata of a cluster; nothing where there is nothing to say.
pub(super) fn cluster_metadata(
    needs: impl IntoIterator<Item = Feature>,
    origins: &[ObjectRef],
    OfCluster { breaker, balancing }: OfCluster,
) -> Option<Metadata> {
    write(needs, origins, ResourceMetadata { breaker, balancing, ..empty() })
}

/// Reads the metadata of a cluster: its origins, and what only it has.
pub(super) fn read_cluster_metadata(metadata: Option<Metadata>) -> Result<(Vec<ObjectRef>, OfCluster), Fault> {
    let Read { origins, service, of_cluster } = read(metadata)?;
    if service.is_empty() { Ok((origins, of_cluster)) } else { Err(fault("metadata.service", "a cluster has none")) }
}

fn empty() -> ResourceMetadata {
    ResourceMetadata::default()
}

fn write(needs: impl IntoIterator<Item = Feature>, origins: &[ObjectRef], extra: ResourceMetadata) -> Option<Metadata> {
    let message = ResourceMetadata {
        needs: needs.into_iter().map(|need| need.as_str().to_owned()).collect(),
        origins: origins.iter().map(|object| origin(object, 0, 0)).collect(),
        ..extra
    };
    (message != empty()).then(|| annotate(&message))
}

struct Read {
    origins: Vec<ObjectRef>,
    service: String,
    of_cluster: OfCluster,
}

fn read(metadata: Option<Metadata>) -> Result<Read, Fault> {
    let ResourceMetadata { needs, origins, service, breaker, balancing } =
        annotation(metadata).within("metadata")?.unwrap_or_default();
    if let Some(need) = needs.iter().find(|need| Feature::from_name(need).is_none()) {
        return Err(fault("metadata.needs", format!("it needs {:?}, which this version does not know", shorten(need))));
    }
    let objects = origins.into_iter().enumerate().map(|(at, origin)| {
        let (object, rule, alternative) = read_origin(origin)?;
        if (rule, alternative) == (0, 0) { Ok(object) } else { Err(fault("rule", "a whole object is expected")) }
            .within(format_args!("metadata.origins[{at}]"))
    });
    Ok(Read { origins: objects.collect::<Result<_, Fault>>()?, service, of_cluster: OfCluster { breaker, balancing } })
}
