"""Results of actions, which the page shows once that the browser is sent to afterwards."""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

PARAMETER = "done"
_LIST = "/dead-letters"
_MOST = 500  # of a few hundred bytes each; the oldest is dropped, and its page shows no result


class ActionResults:
    """The results that are not shown yet. A reload of the page neither repeats an action nor shows its result again.

    Args:
        new_key: makes an unguessable text.
    """

    def __init__(self, new_key: Callable[[], str] = lambda: secrets.token_urlsafe(16)) -> None:
        self._new_key = new_key
        self._results: OrderedDict[str, str] = OrderedDict()

    def address(self, back: str, result: str) -> str:
        """Where to send the browser: `back` with the key of the result."""
        key = self._new_key()
        self._results[key] = result
        if len(self._results) > _MOST:
            self._results.popitem(last=False)
        url = urlsplit(back)
        kept = [(name, value) for name, value in parse_qsl(url.query) if name != PARAMETER]
        return f"{url.path}?{urlencode([*kept, (PARAMETER, key)])}"

    def take(self, key: str) -> str:
        """The result of a key, once; "" if there is none."""
        return self._results.pop(key, "")


def list_of(back: str) -> str:
    """The search of a page of this console, or the list of dead letters if it is the page of one."""
    return back if urlsplit(back).path == _LIST else _LIST


def own_page(back: str) -> str:
    """The page that a form names to go back to, if it is a list or a page of dead letters; else the list."""
    try:
        url = urlsplit(back)
    except ValueError:  # such as of an unclosed bracket
        return _LIST
    is_own = not url.scheme and not url.netloc and f"{url.path}/".startswith(f"{_LIST}/")
    return back if is_own and "\\" not in back and ".." not in unquote(url.path) else _LIST
