//! One span, with every cap enforced where it is built.

use crate::attr::{self, AttrInput, AttrValue, Key, Text};
use crate::clock::Interval;
use crate::ids::{RoundContext, SpanId, TraceId, Unit};

/// Most attributes of a span or an event.
pub const ATTRIBUTES_MAX: usize = 32;
/// Most events of a span.
pub const EVENTS_MAX: usize = 16;
/// Most links of a span.
pub const LINKS_MAX: usize = 32;
/// Longest name, attribute value or message [By].
pub const TEXT_BYTES_MAX: usize = 256;
/// One attribute is kept free for `error.type`.
const ATTRIBUTES_FREE_MAX: usize = ATTRIBUTES_MAX - 1;

/// OpenTelemetry's span kinds, as far as rounds have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Work inside a process.
    Internal,
    /// Asks another process and waits.
    Client,
    /// Sends a message.
    Producer,
    /// Takes a message.
    Consumer,
}

/// Something that happened at one instant of a span.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanEvent {
    pub(crate) at_us: u64,
    pub(crate) name: String,
    pub(crate) attributes: Vec<(&'static str, AttrValue)>,
}

impl SpanEvent {
    /// An event at a time [µs since 1970]; it is moved into the span's time when the span is built.
    pub fn new(at_us: u64, name: &str) -> Self {
        Self {
            at_us,
            name: cut(name),
            attributes: Vec::new(),
        }
    }

    /// Adds an attribute; beyond the cap it is left out.
    pub fn with<T, V: AttrInput<T>>(mut self, key: Key<T>, value: V) -> Self {
        if self.attributes.len() < ATTRIBUTES_MAX {
            self.attributes
                .push((key.name(), cut_value(value.into_attr())));
        }
        self
    }
}

/// A finished span of a round. Attributes, events and links beyond the caps are left out and counted; texts beyond
/// theirs are cut at a character boundary.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundSpan {
    pub(crate) trace: TraceId,
    pub(crate) id: SpanId,
    pub(crate) parent: Option<SpanId>,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) time: Interval,
    pub(crate) attributes: Vec<(&'static str, AttrValue)>,
    pub(crate) events: Vec<SpanEvent>,
    pub(crate) links: Vec<SpanId>,
    pub(crate) error: Option<String>,
    pub(crate) dropped: Dropped,
}

/// How much a span had to leave out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Attributes.
    pub attributes: u32,
    /// Events.
    pub events: u32,
    /// Links.
    pub links: u32,
}

impl RoundSpan {
    /// The span of `unit`, with `fl.job` and `fl.round` set and the parent that the unit's name tells (a device's
    /// parent is set by [`RoundSpan::below`]).
    pub fn new(
        context: &RoundContext,
        unit: Unit<'_>,
        name: &str,
        kind: Kind,
        time: Interval,
    ) -> Self {
        let span = Self {
            trace: context.trace,
            id: context.span_id(&unit),
            parent: unit.parent().map(|parent| context.span_id(&parent)),
            name: cut(name),
            kind,
            time,
            attributes: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
            error: None,
            dropped: Dropped::default(),
        };
        span.with(attr::JOB, &context.job)
            .with(attr::ROUND, context.round)
    }

    /// Sets the parent.
    pub fn below(mut self, context: &RoundContext, parent: Unit<'_>) -> Self {
        self.parent = Some(context.span_id(&parent));
        self
    }

    /// Sets an attribute; a second value for the same name replaces the first.
    pub fn with<T, V: AttrInput<T>>(mut self, key: Key<T>, value: V) -> Self {
        self.set(key.name(), value.into_attr());
        self
    }

    /// Sets an attribute where there is a value.
    pub fn with_some<T, V: AttrInput<T>>(self, key: Key<T>, value: Option<V>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Sets the messaging attributes: system, operation name and type, destination template.
    pub fn messaging(self, system: &str, name: &str, kind: &str, template: &str) -> Self {
        self.with(attr::MESSAGING_SYSTEM, system)
            .with(attr::MESSAGING_OPERATION_NAME, name)
            .with(attr::MESSAGING_OPERATION_TYPE, kind)
            .with(attr::MESSAGING_DESTINATION_TEMPLATE, template)
    }

    /// Adds an event, moved into the span's time.
    pub fn event(mut self, mut event: SpanEvent) -> Self {
        if self.events.len() < EVENTS_MAX {
            event.at_us = event.at_us.clamp(self.time.start_us(), self.time.end_us());
            self.events.push(event);
        } else {
            self.dropped.events += 1;
        }
        self
    }

    /// Links to the span of `unit` in the same trace, unless that is the parent (Jaeger would drop the subtree).
    pub fn link(mut self, context: &RoundContext, unit: Unit<'_>) -> Self {
        let target = context.span_id(&unit);
        if self.parent == Some(target) || target == self.id {
            return self;
        }
        if self.links.len() < LINKS_MAX {
            self.links.push(target);
        } else {
            self.dropped.links += 1;
        }
        self
    }

    /// Marks the span as failed: error status with this message, and `error.type`.
    pub fn failed(mut self, error_type: &str, message: &str) -> Self {
        self.error = Some(cut(message));
        self.attributes
            .retain(|(name, _)| *name != attr::ERROR_TYPE.name());
        self.attributes.push((
            attr::ERROR_TYPE.name(),
            cut_value(AttrInput::<Text>::into_attr(error_type)),
        ));
        self
    }

    /// The span's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The span's time.
    pub fn time(&self) -> Interval {
        self.time
    }

    /// What the caps cost.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Adds an attribute whose name was not known at compile time but is one of ours.
    pub(crate) fn set(&mut self, name: &'static str, value: AttrValue) {
        let value = cut_value(value);
        if let Some((_, old)) = self.attributes.iter_mut().find(|(known, _)| *known == name) {
            *old = value;
        } else if self.attributes.len() < ATTRIBUTES_FREE_MAX {
            self.attributes.push((name, value));
        } else {
            self.dropped.attributes += 1;
        }
    }
}

/// Cuts a text to its cap, at a character boundary.
pub(crate) fn cut_text(text: &mut String) {
    text.truncate(cut_at(text));
}

fn cut(text: &str) -> String {
    text[..cut_at(text)].to_owned()
}

fn cut_at(text: &str) -> usize {
    (0..=TEXT_BYTES_MAX.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

fn cut_value(mut value: AttrValue) -> AttrValue {
    if let AttrValue::Text(text) = &mut value {
        cut_text(text);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> (RoundContext, RoundSpan) {
        let context = RoundContext::new("air", 1, 0);
        let span = RoundSpan::new(
            &context,
            Unit::Merge,
            "merge",
            Kind::Internal,
            Interval::new(1000, 2000),
        );
        (context, span)
    }

    #[test]
    fn caps_cut_and_count() {
        let (context, mut span) = span();
        for name in ["a", "b", "c", "d", "e", "f"] {
            for digit in 0..10 {
                let name: &'static str = Box::leak(format!("{name}{digit}").into_boxed_str());
                span.set(name, AttrValue::Int(1));
            }
        }
        for n in 0..20 {
            span = span.event(SpanEvent::new(n, "tick"));
        }
        for n in 0..40 {
            span = span.link(&context, Unit::Waiting(n));
        }
        let span = span.failed("broken", &"é".repeat(200));
        assert_eq!(
            (span.attributes.len(), span.events.len(), span.links.len()),
            (32, 16, 32)
        );
        assert_eq!(
            span.dropped(),
            Dropped {
                attributes: 31,
                events: 4,
                links: 8
            }
        );
        assert_eq!(span.error.as_deref(), Some("é".repeat(128).as_str()));
        assert!(
            span.events
                .iter()
                .all(|event| (1000..=2000).contains(&event.at_us))
        );
    }

    #[test]
    fn no_link_to_the_parent_or_itself() {
        let (context, span) = span();
        let span = span
            .link(&context, Unit::Round)
            .link(&context, Unit::Merge)
            .link(&context, Unit::Region("north"));
        assert_eq!(span.links, [context.span_id(&Unit::Region("north"))]);
    }

    #[test]
    fn an_attribute_is_set_once() {
        let (_, span) = span();
        let span = span
            .with(attr::ROUND, 7u32)
            .with(attr::REASON, "x".repeat(999));
        let rounds: Vec<_> = span
            .attributes
            .iter()
            .filter(|(name, _)| *name == "fl.round")
            .collect();
        assert_eq!(rounds, [&("fl.round", AttrValue::Int(7))]);
        assert!(
            span.attributes
                .contains(&("fl.reason", AttrValue::Text("x".repeat(TEXT_BYTES_MAX))))
        );
    }
}
