/** The legend of a raster: classes with their colours, or the range of the values. */

import type { Item } from "./catalog";
import { element } from "./elements";
import { TEXT } from "./text";

interface Render {
  title?: string;
  rescale?: number[][];
  colormap?: Record<string, unknown>;
}

interface ClassOfBand {
  value: number;
  name?: string;
  title?: string;
  description?: string;
  color_hint?: string;
}

/** Return the legend of a raster's first render; undefined if it needs none. */
export function legendOf(item: Item): HTMLElement | undefined {
  const classes = classesOf(item);
  if (classes.length) {
    return element(
      "ul",
      { class: "legend" },
      ...classes.slice(0, 60).map((each) => {
        const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
        if (each.color_hint) swatch.style.backgroundColor = `#${each.color_hint}`;
        const name = each.title ?? each.description ?? each.name ?? String(each.value);
        return element("li", {}, swatch, name);
      }),
    );
  }
  const renders = Object.values((item.properties.renders ?? {}) as Record<string, Render>);
  const range = renders[0]?.rescale?.[0];
  if (!range || range.length !== 2) return undefined;
  const [low, high] = range as [number, number];
  return element("p", { class: "legend" }, TEXT.range(short(low), short(high)));
}

function classesOf(item: Item): ClassOfBand[] {
  const places = [item.properties, ...Object.values(item.assets)] as Record<string, unknown>[];
  for (const place of places) {
    const bands = (place.bands ?? []) as Record<string, unknown>[];
    for (const each of [place, ...bands]) {
      const found = each["classification:classes"];
      if (Array.isArray(found)) return found as ClassOfBand[];
    }
  }
  return [];
}

function short(value: number): string {
  return new Intl.NumberFormat("en", { maximumSignificantDigits: 4 }).format(value);
}
