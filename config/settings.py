"""Every setting, read from the environment; `.env.example` names them and `docs/deploy.md` explains them."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from csp.constants import NONE, SELF
from django.templatetags.static import static
from django.urls import reverse_lazy

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")

CANDELA_DATA = Path(env.str("CANDELA_DATA", default=str(BASE_DIR / ".candela"))).resolve()

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="")
if not SECRET_KEY:
    from config.local_secret import local_secret_key

    SECRET_KEY = local_secret_key(CANDELA_DATA)
# Former keys: what they signed is still read, and nothing more is signed with them.
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost"])
PUBLIC_URL = env.str("PUBLIC_URL", default="http://127.0.0.1:8000")
# Behind a proxy that speaks https to the world, forms come from an origin that Django itself does not see.
CSRF_TRUSTED_ORIGINS = env.list(
    "CSRF_TRUSTED_ORIGINS", default=["{0.scheme}://{0.netloc}".format(urlsplit(PUBLIC_URL))]
)
CSRF_FAILURE_VIEW = "config.errors.forged_form"

BILLING_TIME_ZONE = env.str("BILLING_TIME_ZONE", default="UTC")
INVOICE_GRACE_HOURS = env.int("INVOICE_GRACE_HOURS", default=1)
LATE_USAGE_DAYS = env.int("LATE_USAGE_DAYS", default=35)

INSTALLED_APPS = [
    # Before the admin whose pages it draws.
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "djstripe",
    "django_q",
    "plans",
    "metering",
    "credits",
    "entitlements",
    "billing",
    "config",
]

MIDDLEWARE = [
    "config.guard.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "config.page_middleware.WhiteNoiseMiddleware",
    "config.page_middleware.CSPMiddleware",
    "config.page_middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "config.page_middleware.AuthenticationMiddleware",
    "config.page_middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "config.guard.ApiGuardMiddleware",
]

# Behind https everything that a browser keeps is kept for https alone. Redirecting is left to the proxy in front: API
# clients must never be redirected on POST. Whether sub-domains follow is for the owner of the domain to say.
IS_HTTPS = PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = IS_HTTPS
CSRF_COOKIE_SECURE = IS_HTTPS
# Only the proxy in front can reach the server, which listens on this machine alone.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if IS_HTTPS else None
SECURE_HSTS_SECONDS = 30 * 24 * 3600 if IS_HTTPS else 0
SILENCED_SYSTEM_CHECKS = [
    "security.W005",
    "security.W008",
    "security.W021",
    # Said by config/checks in terms of the environment: HSTS, SECRET_KEY, cookies, DEBUG and ALLOWED_HOSTS.
    "security.W004",
    "security.W009",
    "security.W012",
    "security.W016",
    "security.W018",
    "security.W020",
]

# For the pages of visitors and customers: nothing but what this server serves, and nothing inline. The admin has inline
# scripts, and what answers programs has no use for it.
CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "EXCLUDE_URL_PREFIXES": ["/admin/", "/v1/", "/stripe/"],
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    },
}

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "plans.views.merchant",
            ],
        },
    },
]

# Persistent connections: a new connection per request costs most of the throughput.
if env.str("DATABASE_URL", default=""):
    DATABASES = {"default": env.db("DATABASE_URL")}
else:
    DATABASES = {"default": {"ENGINE": "config.embedded_postgres", "NAME": "postgres"}}
DATABASES["default"] |= {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
# For the statements of plans.prepared alone, since Django's own cursors never prepare: planned once per connection, and
# not anew for each customer, which costs several times what they take to run.
database_options = DATABASES["default"].setdefault("OPTIONS", {})
database_options.setdefault("prepare_threshold", 0)
database_options["options"] = f"-c plan_cache_mode=force_generic_plan {database_options.get('options', '')}".strip()

MIGRATION_MODULES = {"djstripe": "config.djstripe_migrations"}

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True

STATIC_URL = "static/"
STATIC_ROOT = CANDELA_DATA / "static"
WHITENOISE_USE_FINDERS = True

REST_FRAMEWORK = {
    # Keys, scopes and limits are the guard's; by the time a view runs, the caller is known and allowed.
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_PARSER_CLASSES": ["config.exact_json.ExactJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["config.exact_json.ExactJSONRenderer"],
    "EXCEPTION_HANDLER": "config.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
    # The renderer writes moments and decimals; serializers hand them on as they are.
    "DATETIME_FORMAT": None,
    "COERCE_DECIMAL_TO_STRING": False,
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024

INVOICE_ZERO_TOTALS = env.bool("INVOICE_ZERO_TOTALS", default=False)
STRIPE_LIVE_MODE = env.bool("STRIPE_LIVE_MODE", default=False)
STRIPE_SECRET_KEY = env.str("STRIPE_SECRET_KEY", default="")
STRIPE_PUBLIC_KEY = env.str("STRIPE_PUBLIC_KEY", default="")
STRIPE_WEBHOOK_SECRET = env.str("STRIPE_WEBHOOK_SECRET", default="")
STRIPE_API_VERSION = "2026-08-26.dahlia"
# Not under the name of its variable: dj-stripe warns of a setting STRIPE_API_HOST, whatever it says.
STRIPE_API_ADDRESS = env.str("STRIPE_API_HOST", default="https://api.stripe.com")
DJSTRIPE_WEBHOOK_EVENT_CALLBACK = "billing.webhooks.keep_event"
DJSTRIPE_FOREIGN_KEY_TO_FIELD = "id"

if env.str("EMAIL_URL", default=""):
    globals().update(env.email("EMAIL_URL"))
else:
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = CANDELA_DATA / "mail"
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="billing@localhost")
# One mail server that does not answer must not hold up the sweep until its task is killed.
EMAIL_TIMEOUT = 20

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Candela",
    "SITE_HEADER": "Candela",
    "SITE_SUBHEADER": "All times are UTC",
    "SITE_URL": None,
    "DASHBOARD_CALLBACK": "plans.admin.home.with_needs",
    "STYLES": [lambda request: static("config/admin.css")],
    # By job. Without it every model of every app would be listed.
    "SIDEBAR": {
        "navigation": [
            {
                "title": title,
                "separator": True,
                "collapsible": title == "System",
                "items": [
                    {
                        "title": words,
                        "icon": icon,
                        "link": reverse_lazy(f"admin:{model}_changelist"),
                        "permission": lambda request, model=model: request.user.has_perm(
                            ".view_".join(model.rsplit("_", 1))
                        ),
                    }
                    for words, icon, model in pages
                ],
            }
            for title, pages in {
                "Customers": [
                    ("Customers", "group", "plans_customer"),
                    ("Subscriptions", "autorenew", "plans_subscription"),
                    ("Checkouts", "shopping_cart", "billing_checkout"),
                ],
                "Plans": [
                    ("Plans", "sell", "plans_plan"),
                    ("Features", "toggle_on", "plans_feature"),
                    ("Metrics", "straighten", "plans_metric"),
                    ("Pricing tables", "view_column", "plans_pricingtable"),
                    ("Enrollment rules", "how_to_reg", "plans_enrollmentrule"),
                ],
                "Usage": [("Events", "bolt", "metering_usageevent")],
                "Credits": [
                    ("Definitions", "rule", "credits_creditdefinition"),
                    ("Packs", "local_mall", "credits_topuppack"),
                    ("Automatic top-ups", "autopay", "billing_autotopup"),
                    ("Grants", "redeem", "credits_creditgrant"),
                    ("Ledger", "menu_book", "credits_credittransaction"),
                ],
                "Invoices": [
                    ("Invoices", "receipt_long", "billing_invoice"),
                    ("Payments", "payments", "billing_payment"),
                    ("Disputes", "gavel", "billing_dispute"),
                    ("Dunning", "notifications_active", "billing_dunning"),
                    ("Mails", "mail", "billing_mail"),
                    ("Late usage", "history", "plans_subscriptionperiod"),
                ],
                "Business and tax": [
                    ("Business", "storefront", "plans_merchant"),
                    ("Tax settings", "percent", "billing_taxsettings"),
                    ("Tax rates", "request_quote", "billing_taxrate"),
                    ("Tax registrations", "badge", "billing_taxregistration"),
                    ("US sales tax", "map", "billing_taxnexus"),
                    ("Dunning settings", "event_repeat", "billing_dunningconfig"),
                ],
                "Developers": [("API keys", "key", "config_apikey")],
                "System": [
                    ("Stripe inbox", "inbox", "billing_stripeinbox"),
                    ("Differences from Stripe", "difference", "billing_difference"),
                    ("Stripe customers", "cloud", "djstripe_customer"),
                    ("Stripe invoices", "cloud", "djstripe_invoice"),
                    ("Stripe payment methods", "cloud", "djstripe_paymentmethod"),
                    ("Stripe events", "cloud", "djstripe_event"),
                    ("Stripe webhook endpoints", "webhook", "djstripe_webhookendpoint"),
                    ("Stripe webhooks received", "webhook", "djstripe_webhookeventtrigger"),
                    ("Stripe account", "cloud", "djstripe_account"),
                    ("Stripe API keys", "vpn_key", "djstripe_apikey"),
                    ("Schedules", "schedule", "django_q_schedule"),
                    ("Queued tasks", "pending", "django_q_ormq"),
                    ("Finished tasks", "task_alt", "django_q_success"),
                    ("Failed tasks", "error", "django_q_failure"),
                    ("Users", "person", "auth_user"),
                    ("Groups", "groups", "auth_group"),
                ],
            }.items()
        ],
    },
}

# One sweep is short and set-based, so a small queue and a generous retry: a task is prefetched before it runs, and its
# retry clock starts then.
Q_CLUSTER: dict[str, Any] = {
    "name": "candela",
    "orm": "default",
    "workers": 2,
    "queue_limit": 2,
    "timeout": 300,
    "retry": 900,
    "max_attempts": 3,
    "catch_up": False,
    "poll": 1,
    "save_limit": 1000,
}

# A sweep asks the tables what is due, so it matters little when it runs and not at all whether it runs twice.
SCHEDULES: list[dict[str, Any]] = [
    {"name": "candela: books", "func": "billing.jobs.sweep_books", "minutes": 1},
    {"name": "candela: top-up", "func": "billing.jobs.sweep_top_up", "minutes": 1},
    {"name": "candela: checkout", "func": "billing.jobs.sweep_checkout", "minutes": 1},
    {"name": "candela: send", "func": "billing.jobs.sweep_send", "minutes": 1},
    {"name": "candela: collect", "func": "billing.jobs.sweep_collect", "minutes": 1},
    {"name": "candela: inbox", "func": "billing.jobs.sweep_inbox", "minutes": 1},
    {"name": "candela: reconcile", "func": "billing.jobs.reconcile", "minutes": 5},
    {"name": "candela: mail", "func": "billing.jobs.sweep_mail", "minutes": 1},
    {"name": "candela: prove the books", "func": "billing.jobs.prove_books", "minutes": 24 * 60},
]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"}},
    "filters": {"request_id": {"()": "config.logs.RequestIdFilter"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain", "filters": ["request_id"]}},
    "root": {"handlers": ["console"], "level": "INFO"},
    # A line for each request to Stripe says too much.
    "loggers": {"stripe": {"level": "WARNING"}},
}
