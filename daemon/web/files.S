/* SPDX-License-Identifier: ISC */
/* The parts of the status page as they lie in this folder; daemon/status_page.c puts them together. */
    .section .rodata, "a"

    .macro part name, path
    .balign 8
    .globl \name, \name\()_len
\name\()_len:
    .quad 2f - 1f
\name:
1:  .incbin "\path"
2:
    .endm

    part status_page_html, daemon/web/status.html
    part status_page_css, daemon/web/status.css
    part status_page_js, daemon/web/status.js

    .section .note.GNU-stack, "", @progbits
