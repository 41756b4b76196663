/** The map beneath the items: land, borders and names from the package, in a light or dark scheme. */

import type { StyleSpecification } from "maplibre-gl";

import { TEXT } from "./text";

const LIGHT = { water: "#dfe7ee", land: "#f6f4ef", border: "#b9b4a8" };
const DARK = { water: "#141b22", land: "#232c35", border: "#4c5a67" };

export const ITEM_COLOUR = "#c2410c";
export const FOOTPRINTS = "footprints";

/** Return the style of the base map, and the empty layers of footprints above it. */
export function baseStyle(isDark: boolean): StyleSpecification {
  const colours = isDark ? DARK : LIGHT;
  return {
    version: 8,
    sources: {
      base: {
        type: "vector",
        tiles: [`${location.origin}/map/base/{z}/{x}/{y}`],
        maxzoom: 5,
        attribution: TEXT.attribution,
      },
      footprints: { type: "geojson", data: { type: "FeatureCollection", features: [] } },
    },
    layers: [
      { id: "water", type: "background", paint: { "background-color": colours.water } },
      {
        id: "land",
        type: "fill",
        source: "base",
        "source-layer": "land",
        paint: { "fill-color": colours.land, "fill-antialias": false },
      },
      {
        id: "borders",
        type: "line",
        source: "base",
        "source-layer": "borders",
        paint: { "line-color": colours.border, "line-width": 0.8 },
      },
      {
        id: FOOTPRINTS,
        type: "line",
        source: "footprints",
        paint: { "line-color": ITEM_COLOUR, "line-width": 1, "line-dasharray": [3, 2] },
      },
    ],
  };
}
