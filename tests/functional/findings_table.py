"""Every kind of finding: the state of a broker that raises it, whom it names there, and in which worlds it is raised.

The scenes, which make the states, are in `findings_scenes.py`.
"""

from __future__ import annotations

from typing import NamedTuple

SAME, CLASSES, STRICT = "3.10->3.10", "3.10->4.0", "3.10->4.3"
ALL = (SAME, CLASSES, STRICT)
#: Worlds whose target has what came with RabbitMQ 4.0.
NEWER = (CLASSES, STRICT)


class Row(NamedTuple):
    """A finding that a scene raises.

    Attributes:
        id: of the kind.
        scene: which raises it.
        subject: whom it names; `{old}`, `{new}` are the vhosts, `{old_node}`, `{new_node}` nodes, `{user}` the user.
        state: what it is raised by.
        worlds: where it can be raised; in the others no scene raises it.
        why: why not in the others.
    """

    id: str
    scene: str
    subject: str
    state: str
    worlds: tuple[str, ...] = ALL
    why: str = ""


ROWS: tuple[Row, ...] = (
    # Brokers and vhosts
    Row("target-alarm", "night", 'target node "{new_node}"', "limits of memory and disk that are passed at once"),
    Row("source-alarm", "night", 'source node "{old_node}"', "the same on the source"),
    Row("disk-room", "night", 'target node "{new_node}"', "one message waits, and no disk is left above the limit"),
    Row("memory-room", "night", 'target node "{new_node}"', "one message waits, and no memory is left below the limit"),
    Row("few-nodes", "clean", 'target vhost "{new}"', "one node"),
    Row("vhost-limit", "messy", 'target vhost "{new}"', "max-queues is one more than there are queues"),
    Row(
        *("default-queue-type", "messy", 'target vhost "{new}"', "the vhost as it is made", NEWER),
        "3.10 has no default queue type but classic, and does not let it be set",
    ),
    Row(
        *("transient-denied", "messy", 'target vhost "{new}"', "a pidbox of a worker on the source", (STRICT,)),
        "queues that are neither durable nor exclusive are allowed before 4.3",
    ),
    Row("permission", "messy", 'target user "{user}"', "no configure, and the bridge's own queue is not there"),
    Row("permission-configure", "messy", 'target user "{user}"', "no configure, and most of the ladder is there"),
    Row(
        "permission-entry", "messy", 'target user "{user}"', "no configure, and no exchanges of ours before the ladder"
    ),
    Row("permission-probe", "messy", 'target user "{user}"', "no configure, and a probe is to be sent"),
    Row("not-looked-at", "clean", 'target vhost "{new}"', "messages are never taken to be looked at"),
    # The old queues
    Row("queue-vanished", "messy", 'queue "gone"', "a name in queues.include that no queue has"),
    Row("left-alone", "messy", 'queue "temporary"', "an auto-delete queue in queues.include"),
    Row("dq2-queue", "messy", 'queue "celery@host.dq2"', "a queue of one worker, not named"),
    Row("exclusive-consumer", "messy", 'queue "exclusive"', "an exclusive consumer"),
    Row("consumer-priority", "messy", 'queue "high"', "a consumer with priority 1000"),
    Row("single-active-source", "messy", 'queue "single"', "x-single-active-consumer"),
    Row("priority-changes", "messy", 'queue "priority"', "x-max-priority 50: more than the levels of 4.3, too"),
    Row(
        *("priority-wakes", "clean", 'queues "celery", "mail"', "no x-max-priority", NEWER),
        "before 4.0 quorum queues ignore priorities as well",
    ),
    Row("message-ttl", "messy", 'queue "ttl"', "x-message-ttl"),
    Row("length-limit", "messy", 'queue "limit"', "x-max-length"),
    Row("overflow-changes", "messy", 'queue "overflow"', "x-overflow reject-publish-dlx"),
    Row("dead-letter", "messy", 'queue "dead"', "x-dead-letter-exchange"),
    Row("dead-letter-exchange", "messy", 'queue "dead-end"', "one that the target does not have"),
    Row("single-active", "messy", 'queue "single"', "x-single-active-consumer"),
    Row("classic-only", "messy", 'queue "lazy"', "x-queue-mode lazy"),
    Row("setting-lost", "messy", 'queue "odd"', "an argument that nobody knows"),
    Row("setting-kept", "messy", 'queue "kept"', "x-overflow drop-head"),
    Row("result-queues", "messy", 'source vhost "{old}"', "a client of rpc:// waits for results"),
    Row("source-ladder", "messy", 'source vhost "{old}"', "a task waits in a level of the source"),
    # The new queues
    Row("target-missing", "messy", 'target queue "missing"', "no sister"),
    Row("target-not-quorum", "messy", 'target queue "classic"', "a classic sister"),
    Row("target-arguments", "messy", 'target queue "ttl"', "a sister without the argument of the old queue"),
    Row("target-filled", "messy", 'target queue "filled"', "a sister with a message, and nothing was moved"),
    Row("target-shared", "messy", 'target queue "shared"', "two queues with one target"),
    Row("target-name", "messy", 'target queue "amq.mail"', "a target that begins with amq."),
    Row("no-workers", "bare", 'target queue "plain"', "a sister without consumers"),
    Row("target-policy", "messy", 'target policy "short"', "a policy with a TTL for a queue that had none"),
    Row("target-expires", "messy", 'target policy "expiry"', "a policy with expires for a sister"),
    Row("policy-ignored", "messy", 'target policy "mixed"', "a length limit beside a key of streams"),
    Row("policy-unreadable", "messy", 'target policy "posix"', "a pattern with a POSIX class"),
    Row("own-queue", "messy", 'target queue "bridge.quarantine"', "a classic quarantine"),
    Row(
        *("delivery-limit", "clean", 'target queues "celery", "mail"', "sisters as they are declared", NEWER),
        "before 4.0 there is none unless it is set",
    ),
    Row(
        *("consumer-timeout", "messy", 'target vhost "{new}"', "a policy with a minute for a sister", NEWER),
        "3.10 refuses such a policy: its timeout is the whole broker's",
    ),
    # ETA and the ladder
    Row("ladder-missing", "bare", 'target vhost "{new}"', "no ladder"),
    Row("ladder-incomplete", "messy", 'target vhost "{new}"', "level 25 has no queue"),
    Row("ladder-classic", "messy", 'target vhost "{new}"', "the queue of level 27 is classic"),
    Row("ladder-arguments", "messy", 'target queue "celery_delayed_26"', "a level with a TTL of a second"),
    Row("ladder-policy", "messy", 'target policy "no room"', "a policy with max-length for level 24"),
    Row("level-stopped", "messy", 'target queue "celery_delayed_1"', "40 due messages for nobody"),
    Row("level-waiting", "messy", 'target queue "celery_delayed_2"', "3 due messages for nobody"),
    Row("exit-missing", "bare", 'target queue "plain"', "a sister that nobody has bound"),
    Row("exit-shared", "messy", 'target queue "greedy"', "a binding to the ladder's end that ends with *"),
    Row("final-binding", "messy", 'target queue "bound"', "a worker that has not bound its queue to the ladder"),
    Row("suffix-collision", "messy", 'target queue "a.q1"', "q1 on the same exchange"),
    Row("equal-keys", "messy", 'target queue "equal-1"', "equal-2 has the same key on another exchange"),
    Row("direct-exchange", "messy", 'target queue "straight"', "bound to a direct exchange only"),
    Row("fanout-exchange", "messy", 'target queue "fan"', "bound to a fanout exchange"),
    Row("long-key", "messy", f'target queue "{"long" * 50}"', "a queue name of 200 bytes, which is its key"),
    # Messages
    Row(
        *("eta-priority-capped", "messy", 'queue "priority"', "x-max-priority 50", (CLASSES,)),
        "only in 4.0 to 4.2 a priority holds back what is due in a level",
    ),
    Row(
        *("eta-priority", "bare", 'queue "plain"', "x-max-priority 10, and eta.cap_priority is never", (CLASSES,)),
        "only in 4.0 to 4.2 a priority holds back what is due in a level",
    ),
    Row(
        *("message-too-large", "messy", 'queue "large"', "a message of 17 MiB", NEWER),
        "a 3.10 target takes 128 MiB, as the source does, and configuring it less would be so for every test",
    ),
    Row(
        *("message-size", "clean", 'target vhost "{new}"', "limits as they are without being configured", NEWER),
        "3.10 on both sides takes the same",
    ),
)

#: Kinds that no state of these brokers raises, each with the reason; tests/unit/core/check has all of them.
NEVER = {
    "same-vhost": "a configuration that names one vhost twice is refused before any broker is asked",
    "target-too-old": "there is no broker here before 3.10",
    "version-untested": "there is no broker here but those that are tested",
    "feature-flag": "a flag that is on cannot be turned off again, and these brokers turn all of them on at start",
    "partition": "takes a cluster of several nodes, cut in two",
    "node-down": "takes a cluster of several nodes",
    "queue-down": "takes a cluster: the only node goes on showing the last report of a queue that it has stopped",
    "legacy-queue-missing": "takes the inline layout: tests/e2e/test_inline.py",
    "delayed-exchange": "takes the plugin rabbitmq_delayed_message_exchange, which these brokers do not have",
    "message-expiration": "check takes no messages, so it sees none of their properties",
    "headers-too-large": "check takes no messages, so it sees none of their headers",
}

#: What a clean pair has all the same in a world, by id: where it is not raised.
STANDING = {
    "few-nodes": "nowhere: every broker here has one node",
    "not-looked-at": "nowhere: check takes no messages",
    "priority-wakes": "bare",
    "delivery-limit": "bare",
    "message-size": f"nowhere but in {SAME}: limits are the whole broker's",
}
