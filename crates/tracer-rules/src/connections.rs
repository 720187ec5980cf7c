//! `connections:` of a rules file: which connections, flows and lookups have spans.

use std::{
    borrow::Cow,
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use tracer_expr::{Function, Input, Nature, Scope, Value, Variables};
use tracer_model::{
    event::{Direction, Transport},
    expression::Failure,
    screen::{Screen, Traffic},
};

use crate::rule::When;

/// The names that `when:` of a rule for connections can use.
pub(crate) const SCOPE: Scope = Scope {
    has_command: false,
    variables: &[
        ("tcp", Nature::Bool),
        ("udp", Nature::Bool),
        ("ipv4", Nature::Bool),
        ("ipv6", Nature::Bool),
        ("local_address", Nature::Text),
        ("local_port", Nature::Int),
        ("peer_address", Nature::Text),
        ("peer_port", Nature::Int),
        ("host", Nature::Text),
        ("direction", Nature::Text),
        ("process", Nature::Text),
    ],
    functions: &[
        Function {
            name: "ipnet_contains",
            parameters: &[Nature::Text, Nature::Text],
            result: Nature::Bool,
            call: |arguments| texts(arguments, ipnet_contains),
        },
        Function {
            name: "has_prefix",
            parameters: &[Nature::Text, Nature::Text],
            result: Nature::Bool,
            call: |arguments| texts(arguments, |text, prefix| text.starts_with(prefix)),
        },
    ],
};

/// Calls a test of two texts. It is false for other values.
fn texts(arguments: &[Value], test: fn(&str, &str) -> bool) -> Value {
    let [first, second] = arguments else { return Value::Bool(false) };
    Value::Bool(first.as_str().zip(second.as_str()).is_some_and(|(first, second)| test(first, second)))
}

/// Whether a network, `ADDRESS/BITS`, contains an address. It is false if one of them is empty or malformed.
///
/// An IPv4 address may be written as IPv6: `::ffff:192.0.2.1`.
fn ipnet_contains(network: &str, address: &str) -> bool {
    let contains = || {
        let (base, bits) = network.split_once('/')?;
        let (base, bits): (IpAddr, u32) = (base.parse().ok()?, bits.parse().ok()?);
        let bits = if base.is_ipv6() && base.to_canonical().is_ipv4() { bits.checked_sub(96)? } else { bits };
        let is_in = |base: u128, address: u128, all: u32| {
            // The number of address bits that the network leaves free.
            let free = all.checked_sub(bits)?;
            Some(base.checked_shr(free).unwrap_or(0) == address.checked_shr(free).unwrap_or(0))
        };
        match (base.to_canonical(), address.parse::<IpAddr>().ok()?.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => is_in(base.to_bits().into(), address.to_bits().into(), 32),
            (IpAddr::V6(base), IpAddr::V6(address)) => is_in(base.to_bits(), address.to_bits(), 128),
            _ => Some(false),
        }
    };
    contains().unwrap_or(false)
}

/// The compiled rules. The first that matches decides.
#[derive(Debug, Default)]
pub(crate) struct Connections(pub(crate) Vec<ConnectionRule>);

#[derive(Debug)]
pub(crate) struct ConnectionRule {
    /// `None`: it matches all.
    pub(crate) when: Option<When>,
    pub(crate) drops: bool,
}

impl Screen for Connections {
    fn drops(&mut self, at: SystemTime, traffic: &Traffic<'_>) -> bool {
        let variables = InConnection { at, traffic };
        let input = Input::new(&variables);
        let first = self.0.iter_mut().find_map(|rule| {
            let is_met = rule.when.as_mut().is_none_or(|when| when.is_true(&input));
            is_met.then_some(rule.drops)
        });
        first.unwrap_or(false)
    }

    fn failures(&self) -> Vec<Failure<'_>> {
        self.0.iter().filter_map(|rule| rule.when.as_ref()?.failure()).collect()
    }
}

/// The variables of an expression about a connection.
struct InConnection<'a> {
    at: SystemTime,
    traffic: &'a Traffic<'a>,
}

impl Variables for InConnection<'_> {
    fn arguments(&self) -> Vec<Cow<'_, str>> {
        Vec::new()
    }

    fn environment(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        Vec::new()
    }

    fn now(&self) -> i64 {
        let since = self.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }

    fn variable(&self, name: &'static str) -> Value {
        let Traffic { transport, local, peer, host, direction, process } = *self.traffic;
        match name {
            "tcp" => Value::Bool(transport == Transport::Tcp),
            "udp" => Value::Bool(transport == Transport::Udp),
            "ipv4" => Value::Bool(peer.is_ipv4()),
            "ipv6" => Value::Bool(peer.is_ipv6()),
            "local_address" => Value::from(&*local.ip().to_string()),
            "local_port" => Value::Int(local.port().into()),
            "peer_address" => Value::from(&*peer.ip().to_string()),
            "peer_port" => Value::Int(peer.port().into()),
            "host" => host.unwrap_or_default().into(),
            "direction" => match direction {
                Direction::Connect => "connect".into(),
                Direction::Accept => "accept".into(),
            },
            "process" => process.into(),
            _ => Value::Nil,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Book;

    fn drops(rules: &str, traffic: &Traffic<'_>) -> bool {
        let mut book = Book::read(&format!("connections:\n{rules}"), &|_| None).unwrap();
        book.take_screen().unwrap().drops(UNIX_EPOCH, traffic)
    }

    fn traffic<'a>() -> Traffic<'a> {
        Traffic {
            transport: Transport::Tcp,
            local: "192.0.2.1:40000".parse().unwrap(),
            peer: "10.1.2.3:443".parse().unwrap(),
            host: Some("db.example"),
            direction: Direction::Connect,
            process: "curl",
        }
    }

    #[test]
    fn a_rule_sees_the_facts_of_a_connection() {
        let all = "tcp && !udp && ipv4 && !ipv6 && local_address == \"192.0.2.1\" && local_port == 40000 && \
                   peer_address == \"10.1.2.3\" && peer_port in 400..500 && host == \"db.example\" && \
                   direction == \"connect\" && process == \"curl\"";
        assert!(drops(&format!("- {{when: '{all}', drop: true}}"), &traffic()));
        let udp = Traffic {
            transport: Transport::Udp,
            peer: "[2001:db8::1]:53".parse().unwrap(),
            host: None,
            direction: Direction::Accept,
            ..traffic()
        };
        let all = "udp && ipv6 && peer_address == \"2001:db8::1\" && host == \"\" && direction == \"accept\"";
        assert!(drops(&format!("- {{when: '{all}', drop: true}}"), &udp));
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let accepted = "- {when: 'peer_port == 443', accept: true}\n- {drop: true}";
        assert!(!drops(accepted, &traffic()));
        let other = Traffic { peer: "10.1.2.3:80".parse().unwrap(), ..traffic() };
        assert!(drops(accepted, &other));
        assert!(!drops("- {when: 'has_prefix(host, \"web.\")', drop: true}", &traffic()));
        assert!(drops("- {when: 'has_prefix(host, \"db.\")', drop: true}", &traffic()));
    }

    #[test]
    fn a_network_contains_addresses_of_its_family() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.9.9.9/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.1.2.3/32", "10.1.2.3", true),
            ("0.0.0.0/0", "10.1.2.3", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "10.1.2.3", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:1::", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/8", "10.1.2.3", false),
            ("10.0.0.0/33", "10.1.2.3", false),
            ("10.0.0.0", "10.0.0.0", false),
            ("10.0.0.0/8", "", false),
            ("10.0.0.0/8", "10.1", false),
            ("", "10.1.2.3", false),
        ] {
            assert_eq!(ipnet_contains(network, address), expected, "{network} {address}");
        }
    }

    #[test]
    fn a_mistake_in_a_rule_has_its_place() {
        for (rules, expected) in [
            (
                "- {when: 'prt == 1', drop: true}",
                "line 2, column 11: the expression does not compile: unknown name 'prt'",
            ),
            ("- {when: 'peer_port', drop: true}", "not true or false"),
            ("- {when: 'cmdline == \"\"', drop: true}", "unknown name 'cmdline'"),
            ("- {drop: true, accept: true}", "'drop' or 'accept', not both"),
            ("- {when: tcp}", "'drop: true' or 'accept: true'"),
        ] {
            let error = Book::read(&format!("connections:\n{rules}"), &|_| None).unwrap_err();
            let place = error.place.map(|place| place.to_string()).unwrap_or_default();
            assert!(format!("{place}: {error}").contains(expected), "{rules}: {place}: {error}");
        }
    }
}
