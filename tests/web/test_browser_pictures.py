"""Pictures of the pages, for README and docs: ``make pictures`` takes them anew."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import freezegun

from rstore import Store
from rstore.web import app
from tests.support.browser import Visitor
from tests.web.screen import Screen

FOLDER: Final = "RSTORE_TEST_PICTURES"
"""The variable of the environment with the folder for the pictures. Without it, they are taken and thrown away."""

SPAN: Final = (1_777_852_800_000, 1_778_025_600_000)
"""Two days of May: so many POSIX milliseconds."""

ASKED: Final = """SELECT epoch_ms(t // 3600000 * 3600000) AS hour, avg(value) AS degrees
FROM "cold store/temperature" GROUP BY hour ORDER BY hour"""

PICTURES: Final[Mapping[str, tuple[str, str, str | None, dict[str, object]]]] = {
    "timeline-series": (
        "light",
        *("ts", "cold store/temperature"),
        {"at": "2026-05-10 12:00", "to": "2026-05-11 00:00", "start": SPAN[0], "end": SPAN[1]},
    ),
    "timeline-value": ("dark", "kv", "price/de", {"at": "2026-05-04 12:00", "to": "2026-05-09 12:00"}),
    "timeline-events": ("light", "es", "order/1042", {}),
    "timeline-sql": ("light", "sql", None, {"q": ASKED}),
}
"""The name of each picture: whether it is light or dark, and the page of it, as for ``Screen.open``."""


def fill(store: Store) -> None:
    """Store ten days of a shop in May: prices, orders, and a sensor in its cold store that was corrected once."""
    hour = 3_600_000
    begin = 1_777_593_600_000  # 2026-05-01T00:00Z
    with freezegun.freeze_time("2026-05-01T00:00Z") as clock:
        for day in range(10):
            clock.tick(9 * 3600)
            with store.context(who="ada", why=["spring sale", "end of the sale", "new supplier"][day % 3]):
                for n, country in enumerate(("at", "ch", "de", "fr")):
                    store[f"price/{country}"] = {
                        "amount": f"{129 - 4 * (day % 5) + n}.90",
                        "currency": "CHF" if country == "ch" else "EUR",
                        "taxes": {"rate": 8.1 if country == "ch" else 19.0, "included": True},
                        "channels": ["shop", "web"] if day > 4 else ["shop"],
                    }
            with store.context(who="bob", did="order.paid"):
                store.apply(f"order/{1040 + day // 3}", {"status": ["open", "paid", "sent"][day % 3], "items": 3 + day})
            temperatures = [
                (
                    begin + 24 * hour * day + hour * m // 12,
                    round(4 + 1.5 * math.sin(m / 46) + 0.2 * math.sin(m / 3) * math.cos(m * day / 17), 2),
                )
                for m in range(288)
            ]
            with store.context(who="sensor 7"):
                store.extend("cold store/temperature", temperatures)
            store.set(f"user:{['ada', 'bob', 'cleo'][day % 3]}", {"visits": day})
            clock.tick(15 * 3600)
        with store.context(who="ada", why="sensor 7 was not calibrated"):
            corrected = [(t, round(v + 1.8, 2)) for t, v in store.range("cold store/temperature", begin + 96 * hour)]
            store.extend("cold store/temperature", corrected)


def test_pictures_are_taken(visitor: Visitor, serve: Callable[..., str], tmp_path: Path) -> None:
    folder = Path(os.environ.get(FOLDER) or tmp_path)
    size: Any = {"width": 1200, "height": 800}
    with Store("memory://", namespace="shop", frozen=False) as store:
        fill(store)
        screen = Screen(visitor.context(viewport=size, reduced_motion="reduce").new_page(), serve(app(store)), "shop")
        for name, (scheme, page, key, query) in PICTURES.items():
            screen.tab.emulate_media(color_scheme=scheme)
            screen.open(page, key, **query)
            if screen.main.locator(".plot").count():
                screen.tab.wait_for_selector(".plot canvas")
            screen.tab.wait_for_timeout(100)  # for the frame in which a plot is drawn
            picture = screen.tab.screenshot(path=folder / f"{name}.png", animations="disabled")
            assert len(picture) > 20_000, f"{name}.png has nothing on it"
