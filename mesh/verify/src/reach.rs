//! Routes that reach no endpoint: because none stands there, or because nobody may call those that do.
use weft_compile::Compiler;
use weft_decide::may_call;
use weft_ir::{
    Caller, Endpoint, Health, InboundChain, Listener, ListenerBody, Resource, ResourceKey, ResourceType, ServicePort,
};
use weft_model::{AccessAction, AccountName, AnyRoute, Code, Diagnostic, FieldPath, ObjectRef, SpiffeId, TrustDomain};

use crate::findings::service_port;

/// Tells each rule none of whose backends is reached, and each backend that is not reached of those that have one that
/// is. Backends that do not exist are told elsewhere.
pub(crate) fn unreachable(compiler: &Compiler, object: &ObjectRef, route: AnyRoute<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (at, rule) in route.rules().into_iter().enumerate() {
        let field = FieldPath::from("spec.rules").index(at).key("backendRefs");
        let mut lost = Vec::new();
        let mut reached = 0;
        for (at, backend) in rule.backends.iter().enumerate().filter(|(_, backend)| backend.weight > 0) {
            if backend.namespace != object.namespace {
                continue;
            }
            let service = ObjectRef {
                kind: weft_model::Kind::Service,
                namespace: backend.namespace.clone(),
                name: backend.name.clone(),
            };
            match obstacle(compiler, &service_port(compiler, &service, backend.port)) {
                Reach::Reached => reached += 1,
                Reach::Missing => {}
                Reach::Blocked(obstacle) => lost.push((at, obstacle)),
            }
        }
        let warning = |field: FieldPath, text: String, hint: &str| {
            Diagnostic::warning(object, field, Code::UnreachableRoute, text).hint(hint)
        };
        if let ([(_, first), ..], 0) = (lost.as_slice(), reached) {
            let causes: Vec<_> = lost.iter().map(|(_, obstacle)| obstacle.text.as_str()).collect();
            let text = format!("the rule reaches no endpoint: {}", causes.join("; "));
            found.push(warning(field, text, first.hint));
        } else {
            for (at, Obstacle { text, hint }) in lost {
                found.push(warning(field.index(at), format!("its share reaches no endpoint: {text}"), hint));
            }
        }
    }
    found
}

/// Whether requests for a service port get anywhere.
enum Reach {
    /// At least one caller reaches at least one endpoint.
    Reached,
    /// There is no such service port.
    Missing,
    Blocked(Obstacle),
}

/// What stands in the way.
struct Obstacle {
    text: String,
    hint: &'static str,
}

fn obstacle(compiler: &Compiler, service: &ServicePort) -> Reach {
    let Some(Resource::Endpoints(endpoints)) = compiler.resource(&ResourceKey::endpoints(&service.clone().into()))
    else {
        return Reach::Missing;
    };
    let (namespace, name, port) = (&service.namespace, &service.service, service.port);
    let blocked = |text: String, hint| Reach::Blocked(Obstacle { text, hint });
    if endpoints.endpoints.is_empty() {
        let text = format!("no workload stands behind port {port} of {namespace}/{name}");
        return blocked(text, "start one whose labels the Service selects and that has the port, or correct either");
    }
    let mut healthy = endpoints.endpoints.iter().filter(|endpoint| endpoint.health == Health::Healthy).peekable();
    if healthy.peek().is_none() {
        let text = format!("every workload behind port {port} of {namespace}/{name} is draining or unhealthy");
        return blocked(text, "start another, or see why their applications take no connections: `weft get workloads`");
    }
    let mut policies = None;
    for endpoint in healthy {
        let Some(chain) = chain(compiler, endpoint, service) else { continue };
        if witnesses(compiler, chain).iter().any(|caller| may_call(chain, caller)) {
            return Reach::Reached;
        }
        policies.get_or_insert_with(|| chain.access.policies.clone());
    }
    match policies.unwrap_or_default().as_slice() {
        [] => {
            let text = format!("no AccessPolicy selects {namespace}/{name}, so nobody may call it");
            blocked(text, "allow its callers by an AccessPolicy that targets the Service")
        }
        policies => {
            let names: Vec<_> = policies.iter().map(ToString::to_string).collect();
            let text = format!("{} let nobody call port {port} of {namespace}/{name}", names.join(" and "));
            blocked(text, "add an allow rule for its callers that no deny rule takes back")
        }
    }
}

/// The chain by which an endpoint takes calls for a service port.
fn chain<'a>(compiler: &'a Compiler, endpoint: &Endpoint, service: &ServicePort) -> Option<&'a InboundChain> {
    let key = ResourceKey::new(ResourceType::Listener, Listener::inbound_name(&endpoint.instance()?.workload));
    let Some(Resource::Listener(listener)) = compiler.resource(&key) else { return None };
    let ListenerBody::Inbound(inbound) = &listener.body else { return None };
    inbound.chains.iter().find(|chain| chain.service == *service)
}

/// One identity for each caller that an allow rule names, such that a deny rule matches it only if it matches the
/// whole of that caller: an account, or a namespace, that no rule names.
fn witnesses(compiler: &Compiler, chain: &InboundChain) -> Vec<SpiffeId> {
    let allowed = chain.access.rules.iter().filter(|rule| rule.action == AccessAction::Allow);
    allowed.flat_map(|rule| &rule.callers).filter_map(|caller| witness(compiler, chain, caller)).collect()
}

fn witness(compiler: &Compiler, chain: &InboundChain, caller: &Caller) -> Option<SpiffeId> {
    let account = |at: usize| format!("account-{at}").parse::<AccountName>().ok();
    // One more candidate than there are callers in the rules: at least one of them is named nowhere.
    let named: usize = chain.access.rules.iter().map(|rule| rule.callers.len()).sum();
    let unnamed = |id: &SpiffeId| {
        let others = chain.access.rules.iter().flat_map(|rule| &rule.callers);
        !others.filter(|other| **other != Caller::Anyone && *other != caller).any(|other| other.matches(id))
    };
    let own: &TrustDomain = &compiler.names().trust_domain;
    match caller {
        Caller::Identity(id) => Some(id.clone()),
        Caller::Namespace(domain, namespace) => {
            (0..=named).filter_map(|at| Some(SpiffeId::of_account(domain, namespace, &account(at)?))).find(unnamed)
        }
        Caller::Anyone => (0..=named)
            .filter_map(|at| Some(SpiffeId::of_account(own, &format!("namespace-{at}").parse().ok()?, &account(at)?)))
            .find(unnamed),
    }
}
