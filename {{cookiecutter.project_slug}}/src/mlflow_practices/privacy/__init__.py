"""What must not be written anywhere: secrets and personal data, by field name and by pattern.

Names of fields are English words; the setting ``privacy.fields`` adds others. Patterns find what
has a form of its own: they find no names of people or streets, and they miss phone numbers written
in unusual ways. No completeness is claimed; a column that holds such values needs a policy.
"""

from .names import REDACTED, configure, is_sensitive
from .protection import KEY, KEY_LENGTH, Policy, PrivacyError, policies, protect, pseudonymise
from .text import redact_text
from .values import redact, redact_table

__all__ = [
    "KEY",
    "KEY_LENGTH",
    "REDACTED",
    "Policy",
    "PrivacyError",
    "configure",
    "is_sensitive",
    "policies",
    "protect",
    "pseudonymise",
    "redact",
    "redact_table",
    "redact_text",
]
