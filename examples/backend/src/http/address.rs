//! Who asks. Behind a proxy that is to be believed, the header `Forwarded` (RFC 7239) says it: its last address that is no such proxy's. Nobody else's
//! word counts.

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::FORWARDED;
use ipnet::IpNet;
use rfc7239::{NodeIdentifier, NodeName, parse};

use super::Peer;

/// The address that limits count against.
pub(super) fn of(request: &Request, trusted: &[IpNet]) -> IpAddr {
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    forwarded(peer.to_canonical(), request.headers(), trusted)
}

fn forwarded(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut address = peer;
    let lines: Vec<&str> = headers.get_all(FORWARDED).iter().filter_map(|line| line.to_str().ok()).collect();
    let line = lines.join(",");
    let mut steps: Vec<Option<IpAddr>> = parse(&line).map(|step| step.ok().and_then(|step| ip(step.forwarded_for))).collect();
    while is_trusted(&address) {
        // A proxy that hides for whom it asks stands for them all.
        let Some(Some(before)) = steps.pop() else { break };
        address = before;
    }
    address
}

fn ip(node: Option<NodeIdentifier<'_>>) -> Option<IpAddr> {
    match node?.name {
        NodeName::Ip(address) => Some(address.to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(peer: &str, forwarded_by: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED, forwarded_by.parse().unwrap());
        forwarded(peer.parse().unwrap(), &headers, &["10.0.0.0/8".parse().unwrap()]).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        assert_eq!(asks("10.0.0.1", "for=192.0.2.60;proto=https"), "192.0.2.60");
        assert_eq!(asks("198.51.100.7", "for=192.0.2.60"), "198.51.100.7");
    }

    #[test]
    fn what_a_caller_claims_before_the_proxy_is_not_believed() {
        assert_eq!(asks("10.0.0.1", "for=203.0.113.9, for=192.0.2.60"), "192.0.2.60");
        assert_eq!(asks("10.0.0.1", "for=203.0.113.9, for=192.0.2.60, for=10.2.2.2"), "192.0.2.60");
    }

    #[test]
    fn an_address_may_be_of_six_and_nonsense_leaves_the_proxy() {
        assert_eq!(asks("10.0.0.1", "for=\"[2001:db8::17]:4711\""), "2001:db8::17");
        for nonsense in ["for=unknown", "for=_hidden", "for=", ";;;", "by=x"] {
            assert_eq!(asks("10.0.0.1", nonsense), "10.0.0.1");
        }
    }
}
