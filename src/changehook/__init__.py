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
    NotConfiguredError,
    QueueClosedError,
    QueueError,
    QueueFullError,
    VerificationError,
)
from changehook.interfaces import DeliveryFilter, InspectableQueue, Queue, Store
from changehook.models import Change
from changehook.network import NetworkPolicy
from changehook.queues.memory import InMemoryQueue
from changehook.queues.threads import ThreadPoolQueue
from changehook.retries import RetryPolicy
from changehook.signing import Secret, generate_secret, verify
from changehook.sources import FileSource, WebhookRegistry
from changehook.stores.memory import MemoryStore
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
    "Emitter",
    "EncodingError",
    "Fault",
    "FileSource",
    "InMemoryQueue",
    "InspectableQueue",
    "MemoryStore",
    "NetworkPolicy",
    "NotConfiguredError",
    "Queue",
    "QueueClosedError",
    "QueueError",
    "QueueFullError",
    "RetryPolicy",
    "Secret",
    "Store",
    "ThreadPoolQueue",
    "VerificationError",
    "Webhook",
    "WebhookRegistry",
    "configure",
    "default_emitter",
    "emit_change",
    "generate_secret",
    "request_context",
    "verify",
]
