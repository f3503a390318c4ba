/* SPDX-License-Identifier: ISC */
/* The parts of the status page as they lie in this folder; daemon/status_page.c puts them together. */
    .section .rodata, "a"

    .globl status_page_html, status_page_html_end
status_page_html:
    .incbin "daemon/web/status.html"
status_page_html_end:

    .globl status_page_css, status_page_css_end
status_page_css:
    .incbin "daemon/web/status.css"
status_page_css_end:

    .globl status_page_js, status_page_js_end
status_page_js:
    .incbin "daemon/web/status.js"
status_page_js_end:
    .byte 0

    .section .note.GNU-stack, "", @progbits
