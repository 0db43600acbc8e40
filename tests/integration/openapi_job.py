# SPDX-License-Identifier: Apache-2.0
"""The main job by the client that openapi-python-client makes of service/openapi.yaml; test_openapi_clients.py
runs it.  It prints "done" at its end."""

import io
import json
import sys

from mvmclient import AuthenticatedClient
from mvmclient.api.exec_ import follow_command, run_command, signal_command
from mvmclient.api.files import list_files, read_file, stat_file, write_file
from mvmclient.api.instances import get_instance, list_instances, remove_instance, start_instance, stop_instance
from mvmclient.api.logs import get_logs
from mvmclient.api.operations import wait_operation
from mvmclient.api.service import get_service
from mvmclient.api.templates import define_template, delete_template, list_templates
from mvmclient.models import Define, Error, Exec, SignalCommandBody, Start
from mvmclient.types import File

client = AuthenticatedClient(sys.argv[1], sys.argv[2], raise_on_unexpected_status=True, timeout=200)
toml = sys.argv[3]


def good(answer):
    """An answer's metadata."""
    assert not isinstance(answer, Error), answer
    return answer.metadata


assert "exec" in good(get_service.sync(client=client)).features
assert [d.template_id for d in good(define_template.sync(client=client, body=Define(toml=toml)))] == ["new-worker"]
assert {t.template_id for t in good(list_templates.sync(client=client))} == {"web-worker", "new-worker"}
assert good(delete_template.sync("new-worker", client=client)) is not None

started = good(start_instance.sync(client=client, body=Start(template="web-worker", name="made"), async_=True))
operation = good(wait_operation.sync(started.id, client=client, timeout="2m"))
assert (operation.state.value, operation.metadata["name"]) == ("done", "made"), operation
assert [i.name for i in good(list_instances.sync(client=client, template="web-worker"))] == ["made"]

result = good(run_command.sync("made", client=client, body=Exec(["/bin/busybox", "sh", "-c", "echo out; exit 3"])))
assert (result.status, result.stdout, result.truncated) == (3, "out\n", False), result
kept = good(run_command.sync("made", client=client, body=Exec(["/bin/busybox", "sleep", "0"], keep=True)))
assert kept.status == 0, kept
missing = signal_command.sync("made", kept.pid, client=client, body=SignalCommandBody("TERM"))
assert isinstance(missing, Error) and missing.error.code == "not_running", missing
events = [json.loads(line) for line in follow_command.sync("made", kept.pid, client=client).splitlines()]
assert events[-1]["event"] == "exited", events

wrote = good(write_file.sync("made", client=client, body=File(io.BytesIO(b"bytes\0")), path="/tmp/new/file"))
assert (wrote.size, wrote.type_.value) == (6, "file"), wrote
assert read_file.sync("made", client=client, path="/tmp/new/file").payload.read() == b"bytes\0"
assert [f.name for f in good(list_files.sync("made", client=client, path="/tmp/new"))] == ["file"]
assert stat_file.sync("made", client=client, path="/tmp/none").error.code == "not_found"

for line in get_logs.sync("made", client=client, tail=10).splitlines():
    assert json.loads(line)["log"] in ("console", "workload"), line

good(stop_instance.sync("made", client=client))
assert good(get_instance.sync("made", client=client)).state.value == "exited"
good(remove_instance.sync("made", client=client))
assert good(list_instances.sync(client=client)) == []
print("done")
