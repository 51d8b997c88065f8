"""Writes surfel_areas.json: the surfel areas of google-deepmind/surface-distance (pip install surface-distance) by neighbour code.

Run: python surfel_areas.py > surfel_areas.json
"""

import json

from surface_distance import lookup_tables

SPACINGS = [[1.0, 1.0, 1.0], [3.0, 0.7, 0.8], [0.5, 2.0, 7.25]]
table = lookup_tables.create_table_neighbour_code_to_surface_area
print(json.dumps([{"spacing": s, "areas": list(table(s))} for s in SPACINGS]))
