from django.urls import path

from credits import api

urlpatterns = [
    path("credits/definitions", api.DefinitionsView.as_view()),
    path("credits/definitions/<str:definition_id>", api.DefinitionView.as_view()),
    path("credits/definitions/<str:definition_id>/update", api.UpdateDefinitionView.as_view()),
    path("credits/definitions/<str:definition_id>/delete", api.DeleteDefinitionView.as_view()),
    path("credits/grants", api.GrantsView.as_view()),
    path("credits/grants/<str:grant_id>/revoke", api.RevokeGrantView.as_view()),
    path("credits/grants/<str:grant_id>/adjust", api.AdjustGrantView.as_view()),
    path("credits/customers/<path:customer_id>/grants", api.CustomerGrantsView.as_view()),
    path("credits/customers/<path:customer_id>/balance", api.CustomerBalanceView.as_view()),
    path("credits/customers/<path:customer_id>/transactions", api.CustomerTransactionsView.as_view()),
    # The paths of the vendor's older pages.
    path("credit-definitions", api.DefinitionsView.as_view()),
    path("credit-definitions/<str:definition_id>", api.DefinitionView.as_view()),
    path("credit-definitions/<str:definition_id>/update", api.UpdateDefinitionView.as_view()),
    path("credit-definitions/<str:definition_id>/delete", api.DeleteDefinitionView.as_view()),
    path("credit-grants", api.GrantsView.as_view()),
    path("credit-grants/<str:grant_id>/revoke", api.RevokeGrantView.as_view()),
    path("credit-grants/<str:grant_id>/adjust", api.AdjustGrantView.as_view()),
]
