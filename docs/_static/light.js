// The pictures are drawn on white, so every page is light; this runs before Furo reads the setting.
try { localStorage.setItem("theme", "light"); } catch (error) { /* a browser that keeps nothing */ }
