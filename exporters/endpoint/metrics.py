# SPDX-License-Identifier: Apache-2.0
"""Figures for Prometheus at ``GET /metrics``: latency by stage, queue, batches, refusals, predicted classes and inputs.

Predicted classes and the mean and spread of inputs show when what is sent drifts from what the classifier was trained on. No
image is kept.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from edgeferry.exporters.endpoint.admission import Load
from edgeferry.exporters.endpoint.classifier import Classifier

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
IMAGES: Final = (1, 2, 4, 8, 16, 32, 64)
# Of normalised inputs, which most classifiers have between -3 and 3.
INPUT: Final = (-2.0, -1.5, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
SPREAD: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
PROBABILITY: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
STAGES: Final = ("read", "queue", "preprocess", "inference", "postprocess", "total")
PREFIX: Final = "edgeferry"


class Metrics:
    """The figures of one server."""

    def __init__(self, classifier: Classifier, load: Load) -> None:
        """Take what is served, and the server's load."""
        self._decision = classifier.decision
        registry = self._registry = CollectorRegistry()
        about = Info(f"{PREFIX}_classifier", "what is served", registry=registry)
        about.info({"name": classifier.name, "sha256": classifier.sha256})
        waiting = Gauge(f"{PREFIX}_requests", "requests that wait or are computed", registry=registry)
        waiting.set_function(lambda: load.requests)
        held = Gauge(f"{PREFIX}_body_bytes", "bytes of bodies in memory", registry=registry)
        held.set_function(lambda: load.bytes_held)
        self._replies = Counter(f"{PREFIX}_replies", "replies", ("route", "status"), registry=registry)
        stages = Histogram(f"{PREFIX}_seconds", "time of each stage", ("stage",), buckets=SECONDS, registry=registry)
        self._stages = {stage: stages.labels(stage) for stage in STAGES}
        self._batch = Histogram(f"{PREFIX}_batch_images", "images of a request", buckets=IMAGES, registry=registry)
        classes = Counter(f"{PREFIX}_predictions", "images by predicted class", ("label",), registry=registry)
        self._classes = [classes.labels(label) for label in classifier.labels]
        self._mean = Histogram(f"{PREFIX}_input_mean", "mean of an image, normalised", buckets=INPUT, registry=registry)
        self._spread = Histogram(
            f"{PREFIX}_input_deviation", "standard deviation of an image, normalised", buckets=SPREAD, registry=registry
        )
        self._highest = Histogram(f"{PREFIX}_highest_score", "highest score of an image", buckets=PROBABILITY, registry=registry)

    def reply(self, route: str, status: int, took_ms: Mapping[str, float]) -> None:
        """Count a reply, and the milliseconds of its stages."""
        self._replies.labels(route, str(status)).inc()
        for stage, took in took_ms.items():
            self._stages[stage].observe(took / 1000)

    def images(self, images: "NDArray[np.float32]", scores: "NDArray[np.float32]") -> None:
        """Count images, normalised [count, height, width, channels], and the class of each by its scores, [count, classes]."""
        self._batch.observe(len(images))
        # Squares of the largest float32 numbers need float64.
        flat = images.reshape(len(images), -1).astype("float64")
        self._observe(self._mean, flat.mean(axis=1).tolist())
        self._observe(self._spread, flat.std(axis=1).tolist())
        self._observe(self._highest, scores.max(axis=1).tolist())
        for counter, count in zip(self._classes, self._decision.answers(scores).sum(axis=0).tolist(), strict=True):
            if count:
                counter.inc(count)

    def text(self) -> bytes:
        """Return all figures in Prometheus's text format."""
        return generate_latest(self._registry)

    @staticmethod
    def _observe(histogram: Histogram, values: Sequence[float]) -> None:
        for value in values:
            histogram.observe(value)
