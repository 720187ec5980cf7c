//! The attributes of connections, flows, name lookups and calls.

use std::{borrow::Cow, net::SocketAddr, time::SystemTime};

use super::{row::rows, value::Texts};
use crate::{
    dns::Answer,
    event::{Connection, Direction, End, Flow, Transport},
    span::{LookupSpan, Reply, Span, Subject, Value},
};

/// By convention, UDP to this port is HTTP/3 over QUIC: RFC 9114, section 3.1.
const PORT_QUIC: u16 = 443;
const QUIC: &str = "quic";

// Key, place, type, unit, source, example, meaning, value.
rows! {
    NETWORK:

    DNS_QUESTION_NAME = "dns.question.name", "lookup", "string", "", "DNS", "crates.example",
        "name that the process looked up",
        span lookup |lookup| lookup.name.as_str();
    DNS_QUESTION_TYPE = "process_tracer.dns.question.type", "lookup", "string", "", "DNS", "AAAA",
        "type of the records that it asked for: `A`, `AAAA`, …",
        span lookup |lookup| lookup.kind.as_str();
    NETWORK_TRANSPORT = "network.transport", "connection, flow, lookup, unix connect", "string", "", "sock.sk_protocol", "tcp",
        "`tcp`, `udp`, `unix`, or `quic` for a flow to port 443",
        span transport |name| name;
    NETWORK_PROTOCOL_NAME = "network.protocol.name", "flow", "string", "", "sock_common.skc_dport", "quic",
        "`quic`, if the port of the other end is 443",
        span flow |flow| (flow.peer.port() == PORT_QUIC).then_some(QUIC);
    NETWORK_TYPE = "network.type", "connection, flow, lookup", "string", "", "sock_common.skc_family", "ipv4",
        "`ipv4` (also for v4-mapped addresses) or `ipv6`",
        span peer |peer| if peer.is_ipv4() { "ipv4" } else { "ipv6" };
    NETWORK_PEER_ADDRESS = "network.peer.address", "connection, flow, lookup, unix connect", "string", "", "sock_common.skc_daddr, sockaddr_un", "192.0.2.7",
        "address of the other end; for a unix socket its path, or `@` and its abstract name",
        span peer_address |address| address;
    NETWORK_PEER_PORT = "network.peer.port", "connection, flow, lookup", "int", "", "sock_common.skc_dport", "443",
        "port of the other end",
        span peer |peer| peer.port();
    NETWORK_LOCAL_ADDRESS = "network.local.address", "connection, flow, lookup", "string", "", "sock_common.skc_rcv_saddr", "192.0.2.1",
        "address of this end",
        span local |local| local.ip();
    NETWORK_LOCAL_PORT = "network.local.port", "connection, flow, lookup", "int", "", "sock_common.skc_num", "40312",
        "port of this end",
        span local |local| local.port();
    SERVER_ADDRESS = "server.address", "connection, flow, lookup, unix connect", "string", "", "DNS, /etc/hosts, sock_common, sockaddr_un", "crates.example",
        "name of the end that listens, by the same rules as in the span name, else its address; for a unix socket its path or abstract name",
        span server_address |address| address;
    SERVER_PORT = "server.port", "connection, flow, lookup", "int", "", "sock_common", "443",
        "port of the end that listens",
        span server |server| server.port();
    SERVICE_PEER_NAME = "service.peer.name", "connection, flow, lookup, unix connect", "string", "", "--peer-name", "postgres",
        "name of the service at the other end, if `--peer-name` has one for its host",
        span service_name |name| name;
    CLIENT_ADDRESS = "client.address", "accepted connection", "string", "", "sock_common.skc_daddr", "192.0.2.9",
        "address of the end that called",
        span client |client| client.ip();
    CLIENT_PORT = "client.port", "accepted connection", "int", "", "sock_common.skc_dport", "51234",
        "port of the end that called",
        span client |client| client.port();
    BYTES_SENT = "process_tracer.tcp.bytes_sent", "connection", "int", "By", "tcp_sock.bytes_sent, .bytes_retrans, .write_seq", "517",
        "payload that the owner wrote",
        span closed |connection| connection.bytes_sent;
    BYTES_RECEIVED = "process_tracer.tcp.bytes_received", "connection", "int", "By", "tcp_sock.bytes_received", "20480",
        "payload that came in",
        span closed |connection| connection.bytes_received;
    PACKETS_SENT = "process_tracer.tcp.packets_sent", "connection", "int", "", "tcp_sock.segs_out", "6",
        "number of segments sent before the owner closed it, without the SYN-ACK of an accepted connection",
        span closed |connection| connection.packets_sent;
    PACKETS_RECEIVED = "process_tracer.tcp.packets_received", "connection", "int", "", "tcp_sock.segs_in", "5",
        "number of segments that came in before the owner closed it",
        span closed |connection| connection.packets_received;
    RETRANSMITS = "process_tracer.tcp.retransmits", "connection", "int", "", "tcp_sock.total_retrans", "1",
        "number of segments that were sent again after the handshake",
        span closed |connection| connection.retransmits;
    SYN_RETRANSMITS = "process_tracer.tcp.syn_retransmits", "connection", "int", "", "tcp_sock.total_retrans", "2",
        "number of times that the SYN was sent again, or the SYN-ACK of an accepted connection",
        span closed |connection| connection.syn_retransmits;
    ROUND_TRIP_TIME = "process_tracer.tcp.round_trip_time", "connection", "double", "s", "tcp_sock.srtt_us", "0.0123",
        "smoothed round-trip time",
        span measured |connection| f64::from(connection.round_trip_us) / 1e6;
    ROUND_TRIP_VARIANCE = "process_tracer.tcp.round_trip_time_variance", "connection", "double", "s", "tcp_sock.mdev_us", "0.0021",
        "variation of the round-trip time: RTTVAR of RFC 6298",
        span measured |connection| f64::from(connection.round_trip_variance_us) / 1e6;
    CONNECT_TIME = "process_tracer.tcp.connect_time", "connection", "double", "s", "tracepoint inet_sock_set_state", "0.0131",
        "time from the SYN to the end of the handshake",
        span connect_time |seconds| seconds;
    CLOSED_BY = "process_tracer.tcp.closed_by", "connection", "string", "", "tracepoint inet_sock_set_state", "remote",
        "end that closed first, `local` or `remote`, unless the connection failed",
        span connection |connection| connection.closed_by.map(|end| match end {
            End::Local => "local",
            End::Remote => "remote",
        });
    DATAGRAMS_SENT = "process_tracer.udp.datagrams_sent", "flow", "int", "", "tracepoint net_dev_queue", "14",
        "number of datagrams sent",
        span flow |flow| flow.datagrams_sent;
    DATAGRAMS_RECEIVED = "process_tracer.udp.datagrams_received", "flow", "int", "", "tracepoint netif_receive_skb", "40",
        "number of datagrams that came in, read or not",
        span flow |flow| flow.datagrams_received;
    FLOW_BYTES_SENT = "process_tracer.udp.bytes_sent", "flow", "int", "By", "tracepoint net_dev_queue", "8200",
        "payload of the datagrams sent",
        span flow |flow| flow.bytes_sent;
    FLOW_BYTES_RECEIVED = "process_tracer.udp.bytes_received", "flow", "int", "By", "tracepoint netif_receive_skb", "46100",
        "payload of the datagrams that came in",
        span flow |flow| flow.bytes_received;
    DNS_ATTEMPTS = "process_tracer.dns.attempts", "lookup", "int", "", "DNS", "2",
        "number of times that the process asked the name server, if it is more than one",
        span lookup |lookup| (lookup.attempts > 1).then_some(lookup.attempts);
    DNS_RESPONSE_CODE = "process_tracer.dns.response_code", "lookup", "string", "", "DNS", "NXDOMAIN",
        "response code: `NOERROR`, `NXDOMAIN`, `SERVFAIL`, …",
        span answer |answer| answer.code.as_str();
    DNS_ANSWERS = "dns.answers", "lookup", "string[]", "", "DNS", "[\"192.0.2.7\"]",
        "addresses in the answer",
        span answer |answer| Texts::Addresses(&answer.addresses);
    DNS_ALIASES = "process_tracer.dns.aliases", "lookup", "string[]", "", "DNS", "[\"cdn.example\"]",
        "other names in the answer: CNAME records",
        span answer |answer| (!answer.aliases.is_empty()).then_some(Texts::List(&answer.aliases));
    DNS_TRUNCATED = "process_tracer.dns.truncated", "lookup", "boolean", "", "DNS", "true",
        "`true`: the answer was too large for a datagram; the lookup over TCP that follows has its own span",
        span answer |answer| answer.is_truncated.then_some(true);
}

fn connection(span: &Span) -> Option<&Connection> {
    match &span.subject {
        Subject::Connection(subject) => Some(&subject.connection),
        _ => None,
    }
}

/// The connection, if it is closed. The counters of an open connection are not known.
fn closed(span: &Span) -> Option<&Connection> {
    connection(span).filter(|_| !span.is_unfinished)
}

fn measured(span: &Span) -> Option<&Connection> {
    connection(span).filter(|connection| connection.round_trip_us > 0)
}

/// When the handshake of a connection was done.
fn established(span: &Span) -> Option<SystemTime> {
    match &span.subject {
        Subject::Connection(subject) => subject.established,
        _ => None,
    }
}

fn connect_time(span: &Span) -> Option<f64> {
    let at = established(span).filter(|_| client(span).is_none())?;
    Some(at.duration_since(span.start).unwrap_or_default().as_secs_f64())
}

fn flow(span: &Span) -> Option<&Flow> {
    match &span.subject {
        Subject::Flow(subject) => Some(&subject.flow),
        _ => None,
    }
}

fn lookup(span: &Span) -> Option<&LookupSpan> {
    match &span.subject {
        Subject::Lookup(lookup) => Some(lookup),
        _ => None,
    }
}

fn answer(span: &Span) -> Option<&Answer> {
    match &lookup(span)?.reply {
        Reply::Answer(answer) => Some(answer),
        Reply::None | Reply::Unread => None,
    }
}

fn transport(span: &Span) -> Option<&'static str> {
    Some(match &span.subject {
        Subject::Connection(_) => "tcp",
        Subject::Flow(subject) if subject.flow.peer.port() == PORT_QUIC => QUIC,
        Subject::Flow(_) => "udp",
        Subject::Lookup(lookup) => match lookup.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        },
        Subject::Call(call) => call.peer()?.transport,
        Subject::Process(_) => return None,
    })
}

fn peer(span: &Span) -> Option<SocketAddr> {
    match &span.subject {
        Subject::Connection(subject) => Some(subject.connection.peer),
        Subject::Flow(subject) => Some(subject.flow.peer),
        Subject::Lookup(lookup) => Some(lookup.server),
        Subject::Process(_) | Subject::Call(_) => None,
    }
}

fn peer_address(span: &Span) -> Option<Cow<'_, str>> {
    match &span.subject {
        Subject::Call(call) => call.peer().map(|peer| Cow::Borrowed(peer.address)),
        _ => Some(Cow::Owned(peer(span)?.ip().to_string())),
    }
}

/// The address of this end. `None` if the connection is not bound yet: its port is 0.
fn local(span: &Span) -> Option<SocketAddr> {
    match &span.subject {
        Subject::Connection(subject) => Some(subject.connection.local).filter(|local| local.port() != 0),
        Subject::Flow(subject) => Some(subject.flow.local),
        Subject::Lookup(lookup) => Some(lookup.local),
        Subject::Process(_) | Subject::Call(_) => None,
    }
}

/// The end that listens.
fn server(span: &Span) -> Option<SocketAddr> {
    match connection(span) {
        Some(Connection { direction: Direction::Accept, local, .. }) => Some(*local),
        _ => peer(span),
    }
}

fn server_address(span: &Span) -> Option<Cow<'_, str>> {
    let host = match &span.subject {
        Subject::Connection(subject) if subject.connection.direction == Direction::Connect => subject.host.as_deref(),
        Subject::Flow(subject) => subject.host.as_deref(),
        _ => None,
    };
    match (host, server(span)) {
        (Some(host), _) => Some(Cow::Borrowed(host)),
        (None, Some(server)) => Some(Cow::Owned(server.ip().to_string())),
        // The address of a unix socket has no port.
        (None, None) => peer_address(span),
    }
}

/// The name of the service at the other end. It is among the user's attributes, because the user gives it.
fn service_name(span: &Span) -> Option<&str> {
    span.attributes.iter().find_map(|(key, value)| match value {
        Value::String(name) if key == SERVICE_PEER_NAME => Some(name.as_str()),
        _ => None,
    })
}

/// The end that called, if the owner accepted the connection.
fn client(span: &Span) -> Option<SocketAddr> {
    connection(span).filter(|connection| connection.direction == Direction::Accept).map(|connection| connection.peer)
}
