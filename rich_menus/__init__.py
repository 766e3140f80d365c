"""Rich menus: their definitions, pictures, publication at LINE and assignment to people."""
