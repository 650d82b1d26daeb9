"""The cases as learners play them: every client shows a session, and the origin names each file by the SHA-1 of its bytes, as a Moodle does.

With `FIELD_ASKED` set the edge leaves to the origin who may have what is stored (`access = "asked"`): what a case asks for is then stored and
checked for each session, not relayed.
"""
import hashlib

import lib

# The sessions of the cases, and the one of clients that show none.
COOKIES = ['sid', 'sessionid', 'MoodleSession', 'learner']
OWN = ('Cookie', 'learner=field')

RULES = [('asked', 'path = "/{place}/**"'), ('asked-empty', 'prefix = "//"')]


def rules():
    """Under every path of a case; a rule for the whole of a site is refused."""
    asked = f'asked = {{ cookies = {COOKIES} }}'.replace("'", '"')
    return ''.join('\n'.join(['', '[[site.rule]]', f'name = "{name}"', when, 'method = ["GET", "HEAD"]', 'verdict = "cache"', 'lift_private = true',
                              'access = "asked"', asked, '']) for name, when in RULES)


def signed_in(build):
    def wrapped(self, method, target, headers=(), *rest, **named):
        headers = list(headers.items()) if isinstance(headers, dict) else list(headers)
        if not any(name.lower() == 'cookie' for name, _ in headers):
            headers.append(OWN)
        return build(self, method, target, headers, *rest, **named)
    return wrapped


def named_by_content(respond):
    async def wrapped(self, status=200, headers=(), body=b'', *rest, **named):
        headers = list(headers.items()) if isinstance(headers, dict) else list(headers)
        body = body.encode() if isinstance(body, str) else body
        if status == 200 and not any(name.lower() == 'etag' for name, _ in headers):
            tag = f'"{hashlib.sha1(body).hexdigest()}"'
            headers.append(('ETag', tag))
            if self.req is not None and self.req.h('if-none-match') == tag:
                status, body = 304, b''
        return await respond(self, status, headers, body, *rest, **named)
    return wrapped


def play():
    """Makes it so for all cases of this run."""
    lib.H1.build = signed_in(lib.H1.build)
    lib.OConn.respond = named_by_content(lib.OConn.respond)
