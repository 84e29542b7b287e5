"""What must not be written anywhere: secrets and personal data, by field name and by pattern.

Field names are English words; the setting ``privacy.fields`` adds others. Patterns find text with a
form of its own: not the names of people or streets, and not phone numbers in unusual forms. They
cannot find everything, so a column with such values needs a policy.
"""

from .field_names import REDACTED, configure, is_sensitive
from .protection import KEY, Policy, PrivacyError, policies, protect, pseudonymise
from .redaction import redact, redact_table
from .text import redact_text

__all__ = [
    "KEY",
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
