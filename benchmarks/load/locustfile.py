# SPDX-License-Identifier: Apache-2.0
"""Users of an endpoint, for locust: ``locust -f benchmarks/load/locustfile.py -H http://127.0.0.1:8080``.

Locust has an environment of its own, so this file imports nothing of edgeferry's. Without --headless, locust serves a page.
"""

import array
import json
import os
import random
import struct
from typing import Any

import locust

MODEL = os.environ.get("EDGEFERRY_LOAD_MODEL", "")
# Users, and the seconds that each number of them stays: a ramp to saturation.
STEPS = [int(users) for users in os.environ.get("EDGEFERRY_LOAD_USERS", "1,2,4,8,16,32").split(",")]
STEP_S = int(os.environ.get("EDGEFERRY_LOAD_STEP_S", "10"))


class Client(locust.FastHttpUser):
    """A client of the Open Inference Protocol, which sends one image as bytes and waits for the reply, again and again."""

    def on_start(self) -> None:
        """Learn what the model reads, and make an image of noise."""
        described = self.client.get(f"/v2/models/{MODEL}", name="describe").json()["inputs"][0]
        shape = [1, *described["shape"][1:]]
        count = shape[1] * shape[2] * shape[3]
        generator = random.Random(5)  # noqa: S311 - an image is no secret
        image = array.array("f", (generator.random() for _ in range(count))).tobytes()
        tensor = {
            "name": described["name"],
            "datatype": "FP32",
            "shape": shape,
            "parameters": {"binary_data_size": len(image)},
        }
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        self.body, self.headers = head + image, {"Inference-Header-Content-Length": str(len(head))}
        self.expected: Any = None

    @locust.task
    def infer(self) -> None:
        """Send the image; a reply with other numbers than the first is a failure."""
        with self.client.post(
            f"/v2/models/{MODEL}/infer", self.body, headers=self.headers, name="infer", catch_response=True
        ) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
                return
            length = int(response.headers["Inference-Header-Content-Length"])
            size = len(response.content) - length
            numbers = struct.unpack(f"<{size // 4}f", response.content[length:])
            self.expected = self.expected or numbers
            if max(abs(one - other) for one, other in zip(numbers, self.expected, strict=True)) > 1e-5:
                response.failure("another answer than before")


class Ramp(locust.LoadTestShape):
    """More users step by step."""

    def tick(self) -> tuple[int, float] | None:
        """Return the users of now, and how many begin in a second; None ends the test."""
        step = int(self.get_run_time() // STEP_S)
        return (STEPS[step], 100.0) if step < len(STEPS) else None
