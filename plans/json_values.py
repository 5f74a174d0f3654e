"""JSON values as clients sent them, for columns that only keep them."""

import json
from decimal import Decimal
from typing import Any


class NumberKeepingEncoder(json.JSONEncoder):
    """Write Decimals, which requests are read with, as JSON numbers (DjangoJSONEncoder would make them text)."""

    def default(self, o: Any) -> Any:
        if isinstance(o, Decimal):
            return int(o) if o == o.to_integral_value() else float(o)
        return super().default(o)
