"""A learner's browser: Chromium with a profile and a home of its own, which trusts the development authority."""
import os
import shutil
import subprocess
from urllib.parse import urlsplit

FLAGS = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required',
         '--disable-dev-shm-usage']


class Learner:
    """One profile. `requests` are those that left the page: (method, host, path)."""

    def __init__(self, playwright, scratch, name, authority):
        self.name, self.home, self.requests, self.trouble = name, scratch / f'home-{name}', [], []
        store = self.home / '.pki/nssdb'
        store.mkdir(parents=True)
        for args in (['-N', '--empty-password'], ['-A', '-t', 'C,,', '-n', 'lectern', '-i', str(authority)]):
            subprocess.run(['certutil', '-d', f'sql:{store}', *args], check=True)
        self.context = playwright.chromium.launch_persistent_context(
            self.home / 'profile', executable_path=shutil.which('chromium'), args=FLAGS, ignore_default_args=['--headless'],
            viewport={'width': 1280, 'height': 800}, env={**os.environ, 'HOME': str(self.home)})
        self.page = self.context.pages[0]
        self.context.on('request', self._request)
        self.context.on('response', lambda r: r.status >= 400 and self.trouble.append(f'{r.status} {r.url}'))
        self.context.on('requestfailed', lambda r: self.trouble.append(f'{r.failure} {r.url}'))
        self.page.on('pageerror', lambda e: self.trouble.append(str(e)))

    def _request(self, request):
        url = urlsplit(request.url)
        if url.scheme == 'https':
            self.requests.append((request.method, url.hostname, url.path))

    def count(self, prefix, method=None):
        return sum(p.startswith(prefix) and method in (None, m) for m, _, p in self.requests)

    def sign_in(self, base, name, password):
        """By the form, as a person does."""
        page = self.page
        page.goto(f'{base}/en/auth/', wait_until='networkidle')
        page.locator('input[type=text]').first.fill(name)
        page.keyboard.press('Enter')
        page.locator('input[type=password]').first.fill(password)
        with page.expect_navigation(url='**/learn/**'):
            page.keyboard.press('Enter')

    def titles(self, base, channel):
        """What the course page lists."""
        self.page.goto(f'{base}/en/learn/#/topics/t/{channel}')
        self.page.get_by_text('lecture.mp4').first.wait_for()
        return [t for t in ('lecture.mp4', 'notes.pdf', 'unit1.zip') if self.page.get_by_text(t).count()]

    def play(self, base, node, seconds=2):
        """Plays the film; returns how far it came and how wide its picture is."""
        self.page.goto(f'{base}/en/learn/#/topics/c/{node}')
        self.page.locator('video').first.wait_for(state='attached')
        self.page.evaluate('() => { const v = document.querySelector("video"); v.muted = true; return v.play(); }')
        self.page.wait_for_function('s => document.querySelector("video").currentTime > s', arg=seconds)
        return self.page.evaluate('() => { const v = document.querySelector("video"); return [v.currentTime, v.videoWidth]; }')

    def seek(self, to, seconds=1):
        """Jumps and plays on from there."""
        self.page.evaluate('t => { document.querySelector("video").currentTime = t; }', to)
        self.page.wait_for_function('s => document.querySelector("video").currentTime > s', arg=to + seconds)
        return self.page.evaluate('() => document.querySelector("video").currentTime')

    def open_app(self, base, node):
        """Opens the HTML5 package; returns what a function of its script computes inside its frame."""
        self.page.goto(f'{base}/en/learn/#/topics/c/{node}')
        for _ in range(150):
            for frame in self.page.frames:
                if '/content/zipcontent/' in frame.url:
                    frame.wait_for_function('() => window.unit && window.unit.f7')
                    answer = frame.evaluate('() => window.unit.f7(6)')
                    self.page.wait_for_load_state('networkidle')
                    return answer
            self.page.wait_for_timeout(200)
        raise RuntimeError('the package did not open')

    def tell(self, folder):
        """Leaves a picture of the page and says what went wrong in it."""
        self.page.screenshot(path=folder / f'{self.name}.png')
        return '\n'.join([f'{self.name} is at {self.page.url}, frames {[f.url for f in self.page.frames[1:]]}', *self.trouble])

    def close(self):
        self.context.close()
