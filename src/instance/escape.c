/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/escape.h"

bool escape_feed(struct escape *e, const char *keys, size_t n, char *out, size_t *ret_n)
{
	size_t len = 0;
	for (size_t i = 0; i < n; i++) {
		char key = keys[i];
		if (e->state == ESCAPE_LINE_START && key == '~') {
			e->state = ESCAPE_TILDE;
			continue;
		}
		if (e->state == ESCAPE_TILDE && key == '.')
			return true;
		if (e->state == ESCAPE_TILDE && key != '~')
			out[len++] = '~';
		out[len++] = key;
		e->state = key == '\r' || key == '\n' ? ESCAPE_LINE_START : ESCAPE_IN_LINE;
	}
	*ret_n = len;
	return false;
}
