"""Why one webhook fires for a change, or why not."""

from __future__ import annotations

from typing import Any

import attrs

from changehook.conditions import Explanation
from changehook.inspection import DisabledWebhook
from changehook.models import Change
from changehook.webhooks import Webhook

__all__ = ["WebhookExplanation", "explain"]


@attrs.frozen(kw_only=True)
class WebhookExplanation:
    """Why one webhook fires for a change, or why not.

    Args:
        webhook: its name.
        fires: whether a delivery would be made.
        reason: the first thing that decides, in words.
        conditions: the conditions as a tree with verdicts; None when they were not asked.
    """

    webhook: str
    fires: bool
    reason: str
    conditions: Explanation | None = None

    def __str__(self) -> str:
        line = f"{self.webhook}: {'fires' if self.fires else 'does not fire'}, {self.reason}"
        return line if self.conditions is None else f"{line}\n{self.conditions}"

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as plain JSON types."""
        conditions = None if self.conditions is None else self.conditions.to_dict()
        return {
            "webhook": self.webhook,
            "fires": self.fires,
            "reason": self.reason,
            "conditions": conditions,
        }


def explain(
    webhook: Webhook, change: Change, listening: bool, disabled: DisabledWebhook | None = None
) -> WebhookExplanation:
    """Say why a webhook fires or not; ``listening`` is whether it listens to the change at all, and
    ``disabled`` why its deliveries are skipped."""
    explanation = _explain(webhook, change, listening)
    if disabled is None or not explanation.fires:
        return explanation
    reason = f"{explanation.reason}; but its deliveries are skipped: {disabled.reason}"
    return attrs.evolve(explanation, reason=reason)


def _explain(webhook: Webhook, change: Change, listening: bool) -> WebhookExplanation:
    conditions = webhook.compiled_conditions
    if not webhook.enabled:
        return WebhookExplanation(webhook=webhook.name, fires=False, reason="it is disabled")
    if not listening:
        return WebhookExplanation(webhook=webhook.name, fires=False, reason=_deaf(webhook, change))
    if conditions is None:
        return WebhookExplanation(webhook=webhook.name, fires=True, reason="it has no conditions")
    tree = conditions.explain(change)
    reason = "its conditions match" if tree.matched else "its conditions do not match"
    return WebhookExplanation(
        webhook=webhook.name, fires=tree.matched, reason=reason, conditions=tree
    )


def _deaf(webhook: Webhook, change: Change) -> str:
    events, models = ", ".join(sorted(webhook.events)), ", ".join(sorted(webhook.object_types))
    asked = f'"{change.event}" of "{change.model}"'
    return f"it listens to {events} of {models}, not to {asked}"
