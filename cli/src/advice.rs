//! What to do about a refusal or failure, by the outcome of its record.
use serde_json::Value;

/// One sentence or two for who reads an explanation.
pub(crate) fn advice(record: &Value) -> String {
    let field = |name: &str| record[name].as_str().unwrap_or_default();
    let (detail, inbound) = (field("detail"), field("direction") == "inbound");
    let caller = match field("caller") {
        "" => "the caller",
        caller => caller,
    };
    match field("outcome") {
        "denied" if detail.starts_with("no AccessPolicy") => {
            return format!("if {caller} should get in, apply an AccessPolicy that selects the service and allows it");
        }
        "denied" if detail.contains(" denies ") => {
            return format!("a rule denies {caller}: narrow or delete it if it should not; no Allow rule outweighs it");
        }
        "denied" if detail.contains(" by this request ") => {
            return format!(
                "{caller} may make other requests: if it should make this one, widen the rule named or add one that \
                 allows it"
            );
        }
        "denied" => {
            return format!("if {caller} should get in, add a rule that allows it to one of the policies named");
        }
        _ => {}
    }
    let text = match field("outcome") {
        "not-in-mesh" => "check the host's spelling and namespace; `weft get services` lists what the mesh knows",
        "no-route" => {
            "no rule of the host's HTTPRoutes matches: add one, or a rule without matches that takes the rest"
        }
        "backend-missing" => "apply the Service that the route names as its backend, or name another",
        "cluster-missing" => "apply the Service again; the proxy was told of a route to one that it was not told of",
        "no-healthy-endpoint" => {
            "see with `weft get workloads` which instances are registered, and whether their labels are those that the \
             Service selects"
        }
        "limit-reached" => {
            "the caller's proxy had as much under way as the TrafficPolicy's limits allow: `weft proxy-config clusters` of \
             it shows what is used; raise the limit that is named, or find out why requests take long"
        }
        "breaker-open" => {
            "the service failed so often in a row that nothing but probes is sent to it: see why it fails; `weft \
             proxy-config clusters` of the caller shows the breaker, the TrafficPolicy's circuitBreaker sets it"
        }
        "control-plane-unreachable" => {
            "see with `weft status` whether the control plane runs, and in the proxy's log why it is not reached"
        }
        "misdirected" => {
            "the caller knows an endpoint of another service here: see `weft proxy-config endpoints` of it"
        }
        "bad-request" | "malformed" | "client-timeout" | "not-offered" => {
            "the client's request is at fault: correct the client"
        }
        "plaintext" => "call through the caller's own sidecar: only mesh TLS is answered at an inbound port",
        "handshake" => "the client has no certificate of this mesh that is valid now: see its proxy's /ready and clock",
        "wrong-protocol" => "the Service's port and its caller differ on the protocol: check the port's appProtocol",
        "connect-failed" | "connect-timeout" if inbound => {
            "the application does not take connections where --application says that it listens: is it up?"
        }
        "connect-failed" | "connect-timeout" => {
            "the endpoint's proxy does not take connections: is it up and reachable?"
        }
        "upstream-handshake" => {
            "who answered at the endpoint's address did not prove to be it: see `weft get workloads` for who is there"
        }
        "upstream-gone" | "upstream-malformed" if inbound => "the application ended or garbled its answer: see its log",
        "upstream-gone" | "upstream-malformed" => "see the endpoint's own record and log of this time",
        "timeout" => "the answer took longer than the route's timeout: find out why, or raise it in the TrafficPolicy",
        "unready" => "the proxy had no certificate or configuration yet: see its /ready",
        _ => "see the proxy's log of this time",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn advice_on_a_denial_names_the_caller_and_tells_the_causes_apart() {
        let told =
            |detail: &str| advice(&json!({"outcome": "denied", "caller": "spiffe://m/ns/a/sa/b", "detail": detail}));
        let texts = [
            told("no AccessPolicy selects shop/x"),
            told("AccessPolicy s/p rule 0 denies b"),
            told("no rule allows b"),
            told("no rule allows b to call s/x by this request (other requests: AccessPolicy s/p rule 0), which …"),
        ];
        assert!(texts.iter().all(|text| text.contains("spiffe://m/ns/a/sa/b")), "{texts:?}");
        assert!(texts.iter().collect::<std::collections::BTreeSet<_>>().len() == texts.len());
    }

    #[test]
    fn whose_application_is_at_fault_depends_on_the_side() {
        let told = |direction: &str| advice(&json!({"outcome": "connect-failed", "direction": direction}));
        assert!(told("inbound").contains("--application"));
        assert!(!told("outbound").contains("--application"));
    }
}
