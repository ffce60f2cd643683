"""gunicorn's settings for the gateway: `gunicorn -c gunicorn.conf.py apps.gateway:app`.

The settings file is named by FASTCORE_GATEWAY_CONFIG; FASTCORE_GATEWAY_<NAME> override single settings.
"""

import sys

from apps.exits import CONFIG
from apps.gateway.serving import from_environment
from apps.settings import InvalidSettings

try:
    globals().update(from_environment.plan().options)
except InvalidSettings as error:
    print(error, file=sys.stderr)
    sys.exit(CONFIG)
