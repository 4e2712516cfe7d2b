"""Outgoing webhooks for any Python application: one function to call on change."""

from changehook.capture import request_context
from changehook.conditions import Conditions
from changehook.defaults import configure, default_emitter, emit_change
from changehook.deliveries import Attempt, Delivery, DeliveryStatus
from changehook.emitter import Emitter
from changehook.errors import (
    AttemptError,
    ChangehookError,
    ConfigurationError,
    DeliveryNotFoundError,
    DeliveryStateError,
    EncodingError,
    Fault,
    GivenUpError,
    NotConfiguredError,
    QueueClosedError,
    QueueError,
    QueueFullError,
    StoreError,
    VerificationError,
)
from changehook.inspection import (
    DeliveryFilter,
    DisabledWebhook,
    HourlyOutcome,
    QueueStats,
    Retention,
    WebhookTally,
    WorkerHeartbeat,
)
from changehook.interfaces import InspectableQueue, Queue, Store
from changehook.models import Change
from changehook.network import NetworkPolicy
from changehook.queues.memory import InMemoryQueue
from changehook.queues.threads import ThreadPoolQueue
from changehook.retries import RetryPolicy
from changehook.signing import Secret, generate_secret, verify
from changehook.sources import FileSource, WebhookRegistry
from changehook.stores.memory import MemoryStore
from changehook.stores.sqlite import SQLiteStore
from changehook.webhooks import Webhook

__all__ = [
    "Attempt",
    "AttemptError",
    "Change",
    "ChangehookError",
    "Conditions",
    "ConfigurationError",
    "Delivery",
    "DeliveryFilter",
    "DeliveryNotFoundError",
    "DeliveryStateError",
    "DeliveryStatus",
    "DisabledWebhook",
    "Emitter",
    "EncodingError",
    "Fault",
    "FileSource",
    "GivenUpError",
    "HourlyOutcome",
    "InMemoryQueue",
    "InspectableQueue",
    "MemoryStore",
    "NetworkPolicy",
    "NotConfiguredError",
    "Queue",
    "QueueClosedError",
    "QueueError",
    "QueueFullError",
    "QueueStats",
    "Retention",
    "RetryPolicy",
    "SQLiteStore",
    "Secret",
    "Store",
    "StoreError",
    "ThreadPoolQueue",
    "VerificationError",
    "Webhook",
    "WebhookRegistry",
    "WebhookTally",
    "WorkerHeartbeat",
    "configure",
    "default_emitter",
    "emit_change",
    "generate_secret",
    "request_context",
    "verify",
]
