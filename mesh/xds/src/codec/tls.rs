//! Mesh TLS as the standard contexts say it: TLS 1.3, the workload's own certificate and roots by SDS from its own
//! agent (keys never come over this wire), the application protocol by ALPN.
use weft_model::Protocol;
use weft_proto::{
    envoy::{
        config::core::v3::{TransportSocket, transport_socket::ConfigType},
        extensions::transport_sockets::tls::v3::{
            CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, TlsParameters, UpstreamTlsContext,
            common_tls_context::ValidationContextType, tls_parameters::TlsProtocol,
        },
    },
    google::protobuf::BoolValue,
};

use prost::Name;

use super::{
    common::{ads, pack, required, text, unpack},
    fault::{Fault, Within, expect, fault, nothing_left},
};

const TRANSPORT_SOCKET: &str = "envoy.transport_sockets.tls";

/// The SDS names of the workload's own certificate and of its roots.
const OWN_CERTIFICATE: &str = "default";
const ROOTS: &str = "ROOTCA";

/// The transport socket of an inbound chain.
pub(super) fn downstream(protocol: Protocol) -> TransportSocket {
    socket(&downstream_context(protocol))
}

/// Checks that an inbound chain's transport socket demands what [`downstream`] does.
pub(super) fn expect_downstream(found: Option<TransportSocket>, protocol: Protocol) -> Result<(), Fault> {
    let context: DownstreamTlsContext = open(found)?;
    expect("transport_socket.typed_config", &context, &downstream_context(protocol))
}

/// The transport socket of a cluster.
pub(super) fn upstream(sni: &str, protocol: Protocol) -> TransportSocket {
    socket(&UpstreamTlsContext {
        common_tls_context: Some(common(&[alpn(protocol)])),
        sni: sni.to_owned(),
        ..UpstreamTlsContext::default()
    })
}

/// Reads a cluster's transport socket: the server name and what is spoken inside.
pub(super) fn read_upstream(found: Option<TransportSocket>) -> Result<(String, Protocol), Fault> {
    let mut context: UpstreamTlsContext = open(found)?;
    let mut read = || {
        let sni = text("sni", std::mem::take(&mut context.sni))?;
        let tls = required("common_tls_context", context.common_tls_context.take())?;
        let protocols = [Protocol::Http, Protocol::Tcp, Protocol::Http2];
        let protocol = protocols.into_iter().find(|protocol| tls.alpn_protocols == [alpn(*protocol)]);
        let protocol = protocol.ok_or_else(|| fault("common_tls_context.alpn_protocols", "it is not one of weft's"))?;
        expect("common_tls_context", &tls, &common(&[alpn(protocol)]))?;
        nothing_left(&context)?;
        Ok((sni, protocol))
    };
    read().within("transport_socket.typed_config")
}

fn downstream_context(protocol: Protocol) -> DownstreamTlsContext {
    // Whatever version of HTTP the application speaks, callers choose theirs.
    let alpn: &[&str] = if protocol.is_http() { &["h2", "http/1.1"] } else { &[alpn(protocol)] };
    DownstreamTlsContext {
        common_tls_context: Some(common(alpn)),
        require_client_certificate: Some(BoolValue { value: true }),
        require_sni: Some(BoolValue { value: true }),
        ..DownstreamTlsContext::default()
    }
}

fn common(alpn: &[&str]) -> CommonTlsContext {
    let secret = |name: &str| SdsSecretConfig { name: name.to_owned(), sds_config: Some(ads()) };
    CommonTlsContext {
        tls_params: Some(TlsParameters {
            tls_minimum_protocol_version: TlsProtocol::TlSv13.into(),
            tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
            ..TlsParameters::default()
        }),
        tls_certificate_sds_secret_configs: vec![secret(OWN_CERTIFICATE)],
        alpn_protocols: alpn.iter().map(|protocol| (*protocol).to_owned()).collect(),
        validation_context_type: Some(ValidationContextType::ValidationContextSdsSecretConfig(secret(ROOTS))),
        ..CommonTlsContext::default()
    }
}

const fn alpn(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http/1.1",
        Protocol::Tcp => "weft-tcp",
        Protocol::Http2 => "h2",
    }
}

fn socket<M: Name>(context: &M) -> TransportSocket {
    TransportSocket { name: TRANSPORT_SOCKET.to_owned(), config_type: Some(ConfigType::TypedConfig(pack(context))) }
}

fn open<M: Name + Default>(found: Option<TransportSocket>) -> Result<M, Fault> {
    let TransportSocket { name, config_type } = required("transport_socket", found)?;
    expect("transport_socket.name", &name.as_str(), &TRANSPORT_SOCKET)?;
    let ConfigType::TypedConfig(any) = required("transport_socket.typed_config", config_type)?;
    unpack(any).within("transport_socket.typed_config")
}
