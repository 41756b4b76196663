"""A client of the system that this platform replaces.

It knows the old routes' paths, parameters and fields, and imports nothing of the platform. Its
credential is the only addition: the old system needed none.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STATES = {"queued", "processing", "completed", "failed", "completed_with_errors"}
ENDED = {"completed", "failed", "completed_with_errors"}


class LegacyError(Exception):
    """An error response: {error, message, request_id, timestamp}."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(
            f"{status} {body['error']}: {body['message']} "
            f"({body['request_id']}, {body['timestamp']})"
        )
        self.status = status
        self.body = body


@dataclass
class LegacyClient:
    """Calls the old routes; `headers` go with each request."""

    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def submit(self, job_type: str, **parameters: Any) -> Mapping[str, Any]:
        """Submit a job; the same parameters give the same job."""
        answer = self._call("POST", f"/api/jobs/submit/{job_type}", parameters)
        assert isinstance(answer["job_id"], str)
        assert isinstance(answer["idempotent"], bool)
        if answer["status"] == "created":
            assert answer["job_type"] == job_type
            assert answer["message"]
            assert answer["parameters"] is not None
            assert answer["idempotent"] is False
        elif answer["status"] == "already_completed":
            assert answer["idempotent"] is True
            assert {"result_data", "created_at", "completed_at"} <= answer.keys()
        else:
            assert answer["idempotent"] is True
            assert {"current_stage", "total_stages"} <= answer.keys()
        return answer

    def status(self, job_id: str) -> Mapping[str, Any]:
        answer = self._call("GET", f"/api/jobs/status/{job_id}")
        wanted = {
            "jobId",
            "jobType",
            "status",
            "stage",
            "totalStages",
            "parameters",
            "stageResults",
            "createdAt",
            "updatedAt",
        }
        assert wanted <= answer.keys()
        assert answer["status"] in STATES
        return answer

    def wait(self, job_id: str, *, patience_s: float = 120) -> Mapping[str, Any]:
        """Wait for the job's end; return its status."""
        deadline = time.monotonic() + patience_s
        while (answer := self.status(job_id))["status"] not in ENDED:
            assert time.monotonic() < deadline, answer
            time.sleep(0.3)
        return answer

    def submit_data(self, **request: Any) -> Mapping[str, Any]:
        answer = self._call(
            "POST", "/api/platform/submit", {"operation": "CREATE", **request}, expected=202
        )
        assert {
            "success",
            "request_id",
            "job_id",
            "job_type",
            "message",
            "monitor_url",
        } <= answer.keys()
        return answer

    def data_status(self, request_id: str) -> Mapping[str, Any]:
        answer = self._call("GET", f"/api/platform/status/{request_id}")
        named = (
            "success request_id dataset_id resource_id version_id data_type created_at "
            "job_id job_type job_status job_stage job_result"
        )
        assert {*named.split(), "data_access"} <= answer.keys()
        return answer

    def follow(self, path: str) -> Mapping[str, Any]:
        """Get the address that a response contained."""
        return self._call("GET", path)

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, expected: int = 200
    ) -> Mapping[str, Any]:
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **self.headers}
        url = path if path.startswith("http") else self.base_url + path
        request = urllib.request.Request(url, data=content, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                assert response.status == expected, response.status
                answer: Mapping[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            raise LegacyError(error.code, json.load(error)) from error
