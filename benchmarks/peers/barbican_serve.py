"""Barbican's own WSGI application as its documentation says, from the configuration of its project. What stands before it in
production, Keystone's check of a token, is left out: its headers come from the caller, which is to the peer's advantage."""

import os

from barbican.common import config
from paste import deploy

config.CONF([], project="barbican")
application = deploy.loadapp("config:" + os.path.join(os.environ["HOME"], ".barbican", "api-paste.ini"), name="main")
