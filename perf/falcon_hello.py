"""The application worker comparisons serve: Falcon's hello world."""

import falcon


class Hello:
    """Thirteen bytes of text."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer."""
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = "hello, world\n"


app = falcon.App()
app.add_route("/", Hello())
