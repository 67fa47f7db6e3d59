"""mitmproxy's part of the work in row 4: a rule of host and method, and the credential on what passes."""

from mitmproxy import http


class Inject:
    """As an operator of mitmproxy would write it; nothing is recorded."""

    def request(self, flow: http.HTTPFlow) -> None:
        if flow.request.host != "127.0.0.1" or flow.request.method not in {"GET", "HEAD", "POST"}:
            flow.response = http.Response.make(403)
            return
        flow.request.headers["authorization"] = "Bearer bench-5ecret-value"


addons = [Inject()]
