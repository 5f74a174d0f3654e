from typing import Any

from rest_framework.serializers import Serializer


def read(serializer: type[Serializer[Any]], data: Any) -> dict[str, Any]:
    """Read a body or a query with a serializer. Raises its ValidationError, which names each wrong field."""
    reader = serializer(data=data)
    reader.is_valid(raise_exception=True)
    return reader.validated_data
