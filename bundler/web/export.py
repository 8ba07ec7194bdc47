"""The page of `try` as static files, for any web host."""

from __future__ import annotations

import shutil
from pathlib import Path

from bundler.web.server import HEADERS, Site

HOSTING = """# A page that writes with a language model

Put this folder on any web host, and open it over HTTPS: browsers give WebGPU to no other pages. Nothing is loaded from
elsewhere, and no text leaves the visitor's browser.

`_headers` has the headers that the page should be served with, as Netlify and Cloudflare Pages read them. Another host
wants them in its own words; here in nginx's:

```
types {{ application/wasm wasm; text/javascript js mjs; }}
{nginx}
```

The page works without the headers too. They forbid it everything that it does not need. `.wasm` has to be served as
`application/wasm`, `.mjs` as `text/javascript`.
"""


def write_site(site: Site, folder: Path) -> list[Path]:
    """Write every file of a site below `folder`, with the headers it needs and a README.md; returns them."""
    written = []
    for url, content in site.files.items():
        path = folder / ("index.html" if url == "/" else url[1:])
        path.parent.mkdir(parents=True, exist_ok=True)
        content = content() if callable(content) else content
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            shutil.copyfile(content, path)
        written.append(path)
    # The server on this machine forbids caches, because files change; those on a host do not.
    headers = {name: value for name, value in HEADERS.items() if name != "Cache-Control"}
    (folder / "_headers").write_text("/*\n" + "".join(f"  {name}: {value}\n" for name, value in headers.items()))
    nginx = "\n".join(f'add_header {name} "{value}";' for name, value in headers.items())
    (folder / "README.md").write_text(HOSTING.format(nginx=nginx))
    return [*written, folder / "_headers", folder / "README.md"]
