"""Open what is served in QGIS and draw it: /usr/bin/python3 qgis_reads.py URL KEY FOLDER.

Print one JSON object; write a picture of each layer into the folder. The key is sent as the
password of HTTP Basic, and by GDAL's network files as a header.
"""

import json
import os
import sys
from pathlib import Path
from urllib.parse import quote

ADDRESS, KEY, FOLDER = sys.argv[1], sys.argv[2], Path(sys.argv[3])
os.environ |= {
    "QT_QPA_PLATFORM": "offscreen",
    "XDG_RUNTIME_DIR": str(FOLDER),
    "GDAL_HTTP_HEADERS": f"X-Api-Key: {KEY}",
    "GDAL_PAM_ENABLED": "NO",
    "NO_PROXY": "127.0.0.1",
    "QGIS_AUTH_DB_DIR_PATH": str(FOLDER),
    "QGIS_CUSTOM_CONFIG_PATH": str(FOLDER),
}

from qgis.core import (  # noqa: E402  # Qt reads the environment when it is imported
    QgsApplication,
    QgsAuthMethodConfig,
    QgsCoordinateReferenceSystem,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
    QgsVectorTileLayer,
)
from qgis.PyQt.QtCore import QSize  # noqa: E402
from qgis.PyQt.QtGui import QColor  # noqa: E402

RASTER = "raster/collections/rasters/items/sierra_nevada_srtm"
FEATURES = "features/collections/vectors:natural_earth_countries"


def tiles(path: str, suffix: str, credential: str) -> str:
    """Return the source of a layer of tiles, as QGIS writes it."""
    address = quote(f"{ADDRESS}/{path}/tiles/WebMercatorQuad/")
    return (
        f"type=xyz&url={address}%7Bz%7D/%7Bx%7D/%7By%7D{suffix}&zmin=0&zmax=12&authcfg={credential}"
    )


def draw(layer, extent, name):
    """Draw the layer into FOLDER/NAME.png, 600 x 400 pixels in EPSG:3857; return errors."""
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setOutputSize(QSize(600, 400))
    settings.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:3857"))
    settings.setBackgroundColor(QColor(255, 255, 255))
    settings.setExtent(extent)
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(str(FOLDER / f"{name}.png"))
    return [error.message for error in job.errors()]


def main():
    QgsApplication.setPrefixPath("/usr", True)
    application = QgsApplication([], False)
    application.initQgis()
    manager = QgsApplication.authManager()
    manager.setMasterPassword("only for this process", True)
    stored = QgsAuthMethodConfig("Basic")
    stored.setName("geo_platform")
    stored.setConfig("username", "key")
    stored.setConfig("password", KEY)
    stored.setConfig("realm", "")
    manager.storeAuthenticationConfig(stored)
    credential = stored.id()

    file = QgsRasterLayer(
        f"/vsicurl/{ADDRESS}/stac/{RASTER.partition('/')[2]}/assets/data", "file", "gdal"
    )
    rows = QgsVectorLayer(
        f"url='{ADDRESS}/features' typename='vectors:natural_earth_countries' "
        f"authcfg={credential} pageSize='100'",
        "rows",
        "OAPIF",
    )
    pictures = QgsRasterLayer(tiles(RASTER, ".png", credential), "pictures", "wms")
    vector_tiles = QgsVectorTileLayer(tiles(FEATURES, "", credential), "vector tiles")
    layers = {"file": file, "rows": rows, "pictures": pictures, "vector_tiles": vector_tiles}
    places = {
        "file": QgsRectangle(-13365000, 4507000, -13279000, 4589000),
        "rows": QgsRectangle(-20037508, -9000000, 20037508, 17000000),
    }
    places |= {"pictures": places["file"], "vector_tiles": places["rows"]}
    found = {
        "valid": {name: layer.isValid() for name, layer in layers.items()},
        "errors": {name: draw(layer, places[name], name) for name, layer in layers.items()},
        "size": [file.width(), file.height()],
        "crs": file.crs().authid(),
        "rows": {
            feature["name"]: [feature["pop_est"], round(feature.geometry().area(), 6)]
            for feature in rows.getFeatures()
        },
        "fields": rows.fields().names(),
    }
    sys.stdout.write(json.dumps(found) + "\n")
    # Without exitQgis: it waits for threads of the network.
    sys.stdout.flush()
    os._exit(0)


main()
