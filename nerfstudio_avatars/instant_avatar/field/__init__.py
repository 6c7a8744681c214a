"""The canonical radiance field: a multiresolution hash grid and two small networks."""
