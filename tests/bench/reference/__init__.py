"""The usual way to do it, kept to compare with: Django REST framework and the ORM, and a view without a query."""
