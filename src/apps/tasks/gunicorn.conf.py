"""gunicorn's settings for the task queue: `gunicorn -c gunicorn.conf.py apps.tasks:app`.

The settings file is named by FASTCORE_TASKS_CONFIG; FASTCORE_TASKS_<NAME> override single settings.
"""

from apps.tasks.serving import options_from_environment

globals().update(options_from_environment())
