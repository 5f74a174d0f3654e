"use strict";

// Copies the new API key. Without a secure connection browsers refuse; then the key is selected for Ctrl-C.
(() => {
    const button = document.getElementById("copy-key");
    const text = document.getElementById("key-text");
    const status = document.getElementById("copied");

    button.hidden = false;
    button.addEventListener("click", async () => {
        try {
            await navigator.clipboard.writeText(text.textContent);
            status.textContent = "Copied.";
        } catch {
            window.getSelection().selectAllChildren(text);
            status.textContent = "Selected: press Ctrl-C.";
        }
    });
})();
