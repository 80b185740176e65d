"""Who calls, and how they show it.

`principal` says who, `tokens` and `oauth` check what a caller shows, and `door` stands in front of
the endpoint and asks for it.
"""

from server.auth.principal import READ as READ
from server.auth.principal import SCOPES as SCOPES
from server.auth.principal import WRITE as WRITE
from server.auth.principal import Principal as Principal
from server.auth.principal import current_principal as current_principal
