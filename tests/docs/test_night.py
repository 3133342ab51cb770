"""The runbook of the night, every command as it is written, with old and new workers and a producer on two queues."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bridge.lab.ports import free
from tests.docs.markdown import DOCS
from tests.docs.walk import File, Shell, Typed, walk
from tests.support.brokers import Vhosts

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(300)]

QUEUES = ("mail", "reports")
TASKS = """\
import os, time
from celery import Celery

app = Celery("shop", broker=os.environ["BROKER"])
app.conf.update(task_default_queue="mail", task_ignore_result=True, task_create_missing_queues=True)
if "SETTINGS" in os.environ:
    app.config_from_object(os.environ["SETTINGS"])

@app.task(name="shop.work")
def work(): ...

if __name__ == "__main__":
    while True:
        for queue in ("mail", "reports"):
            work.apply_async(queue=queue)
            work.apply_async(queue=queue, countdown=30)
        time.sleep(0.2)
"""
CONFIG = """\
source: {amqp: "${OLD_AMQP}", api: "${OLD_API}"}
target: {amqp: "${NEW_AMQP}", api: "${NEW_API}"}
admin: {socket: "${PWD}/admin.sock", listen: "127.0.0.1:8642"}
drained_after: 5s
"""
WORKER = "celery -A tasks worker -l info -c 1 -n {0}@%h -Q mail,reports --pidfile {0}.pid > {0}.log 2>&1 &"
#: What people do with systemd, here.
BY_HAND = {
    "export CREDENTIALS_DIRECTORY=/etc/bridge/credentials": "",
    "systemctl start celery-new": f"BROKER=$NEW_AMQP SETTINGS=celery_quorum {WORKER.format('new')}\n"
    "until grep -qs ready new.log; do sleep 0.2; done",
    "systemctl enable --now bridge": "bridge run > bridge.log 2>&1 &",
    "bridge status --watch=60 >> night.log": "bridge status --watch=60 >> night.log &",
    "systemctl stop celery-old": "kill $(cat old.pid)",
    "systemctl restart shop": "kill $SHOP; BROKER=$NEW_AMQP SETTINGS=celery_quorum python tasks.py > shop2.log 2>&1 &",
    "bridge certify && rabbitmqctl delete_vhost shop": "",
}


@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
def test_the_runbook_does_what_it_says(vhosts: Vhosts, tmp_path: Path) -> None:
    addresses = {
        f"{side.upper()}_{door.upper()}": str(info[door])
        for side, info in vhosts.env().items()
        for door in ("amqp", "api")
    }
    (port,) = free(1, ())
    own = {"8642": str(port), "/etc/bridge/bridge.yaml": str(tmp_path / "bridge.yaml")}

    def adapt(text: str) -> str:
        for theirs, ours in own.items():
            text = text.replace(theirs, ours)
        return text

    with Shell(tmp_path, addresses, adapt) as shell:
        shell.save(File("tasks.py", TASKS))
        shell.save(File("bridge.yaml", CONFIG))
        shell.do(Typed(f"BROKER=$OLD_AMQP {WORKER.format('old')}", ()))
        shell.do(Typed("BROKER=$OLD_AMQP python tasks.py > shop.log 2>&1 & SHOP=$!", ()))
        shell.do(Typed("grep ready old.log", ("ready",)))
        walk(DOCS / "run" / "night.md", shell, BY_HAND)
        _, printed = shell.type("bridge status --json")
    status = json.loads(printed)
    page = (DOCS / "reference" / "status.md").read_text()
    keys = {*status, *status["totals"], *status["queues"][0]}
    assert sorted(key for key in keys if not re.search(rf'[`"]{key}[`".]', page)) == [], "not on the page of the status"
