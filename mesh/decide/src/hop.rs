//! What one hop reads of a request's fields about where it belongs and how long it may take, and what it tells the next.
use std::{fmt, time::Duration};

use crate::{
    FieldEdits, Time,
    deadline::{DEADLINE, GRPC_TIMEOUT, write_deadline, write_grpc_timeout},
    trace::{Belonging, REQUEST_ID, TRACEPARENT, TRACESTATE, TraceParent, request_id},
};

/// One hop of a request.
#[derive(Clone, Debug)]
pub struct Hop<'a> {
    /// How long the request may take by its fields.
    pub time: Time,
    belonging: Belonging<'a>,
    own: TraceParent,
    traceparent: String,
    made_id: Option<String>,
}

impl<'a> Hop<'a> {
    /// Reads the fields, in one pass. `draw` gives uniform draws: one for this hop's span, and more for what has to be
    /// made up.
    pub fn read(headers: &[(&'a [u8], &'a [u8])], mut draw: impl FnMut() -> u64) -> Self {
        let (mut time, mut belonging) = (Time::default(), Belonging::default());
        for (name, value) in headers {
            // All that matter have names of these lengths.
            if (10..=15).contains(&name.len()) && !time.take(name, value) {
                belonging.take(name, value);
            }
        }
        let own = match belonging.parent {
            Some(parent) => parent.next(draw()),
            None => TraceParent::begin([draw(), draw(), draw()]),
        };
        let made_id = belonging.request_id.is_none().then(|| request_id([draw(), draw()]));
        Self { time, belonging, own, traceparent: own.to_string(), made_id }
    }

    /// The trace with this hop's span.
    pub fn own(&self) -> TraceParent {
        self.own
    }

    /// The span that is this hop's parent, if there is one.
    pub fn parent(&self) -> Option<u64> {
        self.belonging.parent.map(|parent| parent.span)
    }

    /// The request's id.
    pub fn request_id(&self) -> impl fmt::Display + '_ {
        let came = self.belonging.request_id.map(|id| String::from_utf8_lossy(id));
        fmt::from_fn(move |f| match (&self.made_id, &came) {
            (Some(made), _) => f.write_str(made),
            (None, Some(came)) => f.write_str(came),
            (None, None) => Ok(()),
        })
    }

    /// Has the next hop see this one as its parent, and the request's id.
    pub fn edit<'e>(&'e self, edits: &mut FieldEdits<'e>) {
        if self.belonging.broken {
            edits.remove(TRACESTATE);
            edits.remove(TRACEPARENT);
        }
        match self.belonging.parent {
            Some(_) => edits.set(TRACEPARENT, &self.traceparent),
            None => edits.add(TRACEPARENT, &self.traceparent),
        }
        if let Some(id) = &self.made_id {
            edits.set(REQUEST_ID, id);
        }
    }

    /// What the next hop is told of the time that is left.
    pub fn left(&self, left: Option<Duration>) -> Left {
        Left {
            // Only calls have it, and only where they came with it: a call without a deadline has none.
            grpc: left.filter(|_| self.time.grpc.is_some()).map(write_grpc_timeout),
            deadline: left.map(write_deadline),
        }
    }
}

/// What is left of a request's time, as fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    grpc: Option<String>,
    deadline: Option<String>,
}

impl Left {
    /// Tells a sidecar.
    pub fn edit_to_peer<'e>(&'e self, edits: &mut FieldEdits<'e>) {
        self.edit_grpc(edits);
        if let Some(deadline) = &self.deadline {
            edits.set(DEADLINE, deadline);
        }
    }

    /// Tells an application: what sidecars tell each other is not for it.
    pub fn edit_to_application<'e>(&'e self, edits: &mut FieldEdits<'e>) {
        self.edit_grpc(edits);
        if self.deadline.is_some() {
            edits.remove(DEADLINE);
        }
    }

    fn edit_grpc<'e>(&'e self, edits: &mut FieldEdits<'e>) {
        if let Some(grpc) = &self.grpc {
            edits.set(GRPC_TIMEOUT, grpc);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines = &'static [(&'static str, &'static str)];

    /// The fields that the next hop gets of those lines, with a time left, by draws that count from 1.
    fn passed_on(lines: Lines, left: Option<Duration>) -> Vec<(String, String)> {
        let headers: Vec<_> = lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let mut draws = 1..;
        let hop = Hop::read(&headers, || draws.next().unwrap());
        let mut edits = FieldEdits::default();
        hop.edit(&mut edits);
        let left = hop.left(left);
        left.edit_to_peer(&mut edits);
        let kept = lines.iter().filter(|(name, _)| !edits.drops(name.as_bytes())).copied();
        kept.chain(edits.added()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn value<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f str> {
        let mut values = fields.iter().filter(|(its, _)| its.eq_ignore_ascii_case(name));
        let first = values.next().map(|(_, value)| value.as_str());
        assert_eq!(values.next(), None, "{name} twice");
        first
    }

    #[test]
    fn what_is_absent_is_made_up_and_what_is_there_is_kept() {
        let made = passed_on(&[("accept", "*/*")], None);
        assert_eq!(value(&made, "traceparent"), Some("00-00000000000000010000000000000002-0000000000000003-00"));
        assert_eq!(value(&made, "x-request-id"), Some("00000000-0000-4004-8000-000000000005"));
        assert_eq!((value(&made, "grpc-timeout"), value(&made, "x-weft-deadline")), (None, None));
        let lines: Lines = &[
            ("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("tracestate", "a=b"),
            ("X-Request-Id", "kept"),
        ];
        let kept = passed_on(lines, None);
        assert_eq!(value(&kept, "traceparent"), Some("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-01"));
        assert_eq!((value(&kept, "tracestate"), value(&kept, "x-request-id")), (Some("a=b"), Some("kept")));
    }

    #[test]
    fn a_broken_trace_begins_anew_without_its_state() {
        let lines: Lines = &[("traceparent", "00-abc"), ("tracestate", "a=b")];
        let fields = passed_on(lines, None);
        assert_eq!(value(&fields, "tracestate"), None);
        assert_eq!(value(&fields, "traceparent"), Some("00-00000000000000010000000000000002-0000000000000003-00"));
    }

    #[test]
    fn the_time_that_is_left_is_told_in_each_ones_words() {
        let left = Some(Duration::from_millis(1500));
        let call = passed_on(&[("grpc-timeout", "2S"), ("x-weft-deadline", "9000")], left);
        assert_eq!((value(&call, "grpc-timeout"), value(&call, "x-weft-deadline")), (Some("1500000u"), Some("1500")));
        let request = passed_on(&[], left);
        assert_eq!((value(&request, "grpc-timeout"), value(&request, "x-weft-deadline")), (None, Some("1500")));
        let unread = passed_on(&[("grpc-timeout", "soon")], None);
        assert_eq!(value(&unread, "grpc-timeout"), Some("soon"));
    }
}
