//! Families and samples, from values to text.
//!
//! Knows the shape of an exposition, nothing of what the families mean.

use prometheus::{
    TextEncoder,
    proto::{
        Bucket, Counter, Gauge, Histogram as HistogramValue, LabelPair, Metric, MetricFamily, MetricType,
    },
};

use crate::store::Histogram;

/// The media type of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// An exposition in the making. Each family becomes text at once, so that the values of only one are held in memory.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

/// The labels of a sample, in the order in which they are shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels(Vec<LabelPair>);

impl Labels {
    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        let mut pair = LabelPair::default();
        pair.set_name(name.into());
        pair.set_value(value.into());
        self.0.push(pair);
        self
    }
}

impl Exposition {
    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// Adds a family of gauges; none at all without samples.
    pub(super) fn gauge(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, f64)>) {
        let samples = samples.into_iter().map(|(Labels(labels), value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = Metric::from_gauge(gauge);
            metric.set_label(labels);
            metric
        });
        self.family(name, help, MetricType::GAUGE, samples.collect());
    }

    /// Adds a family of counters; none at all without samples.
    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let samples = samples.into_iter().map(|(Labels(labels), value)| {
            let mut counter = Counter::default();
            counter.set_value(value as f64);
            let mut metric = Metric::from_label(labels);
            metric.set_counter(counter);
            metric
        });
        self.family(name, help, MetricType::COUNTER, samples.collect());
    }

    /// Adds a family of histograms; none at all without samples.
    pub(super) fn histogram<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, &'a Histogram)>,
    ) {
        let samples = samples.into_iter().map(|(Labels(labels), value)| {
            let buckets = value.cumulative().map(|(bound, count)| {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(bound);
                bucket.set_cumulative_count(count);
                bucket
            });
            let mut histogram = HistogramValue::default();
            histogram.set_bucket(buckets.collect());
            histogram.set_sample_count(value.count());
            histogram.set_sample_sum(value.sum().as_secs_f64());
            let mut metric = Metric::from_label(labels);
            metric.set_histogram(histogram);
            metric
        });
        self.family(name, help, MetricType::HISTOGRAM, samples.collect());
    }

    /// Adds families that someone else made.
    pub(super) fn families(&mut self, families: &[MetricFamily]) {
        // The encoder fails on a family without a name or samples only, and writing into a string cannot fail.
        if let Err(error) = TextEncoder::new().encode_utf8(families, &mut self.text) {
            tracing::error!(%error, "a family of metrics is left out");
        }
    }

    fn family(&mut self, name: &str, help: &str, kind: MetricType, samples: Vec<Metric>) {
        if samples.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.into());
        family.set_help(help.into());
        family.set_field_type(kind);
        family.set_metric(samples);
        self.families(&[family]);
    }
}
