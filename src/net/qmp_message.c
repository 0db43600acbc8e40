/* SPDX-License-Identifier: Apache-2.0 */
#include "net/qmp_message.h"

#include <errno.h>
#include <stdbool.h>

void qmp_message_done(struct qmp_message *m)
{
	json_decref(m->root);
	*m = (struct qmp_message){ 0 };
}

/* Checked before parsing: jansson recurses as deep as the text is nested. */
static bool is_too_deep(const char *line, size_t len)
{
	unsigned depth = 0;
	bool quoted = false;
	for (size_t i = 0; i < len; i++) {
		char c = line[i];
		if (quoted) {
			if (c == '\\')
				i++;
			else if (c == '"')
				quoted = false;
		} else if (c == '"') {
			quoted = true;
		} else if (c == '{' || c == '[') {
			if (++depth > QMP_DEPTH_MAX)
				return true;
		} else if ((c == '}' || c == ']') && depth > 0) {
			depth--;
		}
	}
	return false;
}

static bool classify(json_t *root, struct qmp_message *ret)
{
	json_t *value;
	ret->id = json_integer_value(json_object_get(root, "id")); /* 0 when absent */
	if ((value = json_object_get(root, "return"))) {
		ret->kind = QMP_KIND_RETURN;
		ret->data = value;
		return true;
	}
	if ((value = json_object_get(root, "error"))) {
		ret->kind = QMP_KIND_ERROR;
		ret->text = json_string_value(json_object_get(value, "desc"));
		return ret->text;
	}
	if ((value = json_object_get(root, "event"))) {
		ret->kind = QMP_KIND_EVENT;
		ret->text = json_string_value(value);
		ret->data = json_object_get(root, "data");
		return ret->text && (!ret->data || json_is_object(ret->data));
	}
	ret->kind = QMP_KIND_GREETING;
	ret->data = json_object_get(root, "QMP");
	return json_is_object(ret->data);
}

int qmp_message_parse(const char *line, size_t len, struct qmp_message *ret, struct mvm_error *err)
{
	if (is_too_deep(line, len))
		return mvm_error_set(err, -EPROTO, "QMP message nested more than %u deep",
				     QMP_DEPTH_MAX);
	json_error_t why;
	json_t *root = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
	if (!root)
		return mvm_error_set(err, -EPROTO, "QMP message is no JSON: %s", why.text);

	AUTO_DONE(qmp_message) m = { .root = root };
	if (!json_is_object(root) || !classify(root, &m))
		return mvm_error_set(err, -EPROTO, "QMP message is of no known kind");
	*ret = m;
	m.root = NULL;
	return 0;
}
