// The theme that was chosen here counts before anything is painted; without a choice it is the system's.
const chosen = localStorage.getItem("bridge.theme");
if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
