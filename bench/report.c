/* SPDX-License-Identifier: MIT */
/*
 * The report: rows of figures as a table for people or as JSON for programs.
 * Filled by the benchmarks, written by main.c at the end.
 */
#include "bench.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum { SCHEMA = 1 };

struct bench_result *bench_report_add(struct bench_report *report,
				      const char *name)
{
	struct bench_result *result;

	if (report->num_results == BENCH_RESULTS_MAX)
		abort();
	result = &report->results[report->num_results++];
	memset(result, 0, sizeof(*result));
	result->name = name;
	strcpy(result->params, "{}");
	return result;
}

void bench_report_show(struct bench_report *report, const char *format, ...)
{
	va_list args;

	if (report->num_shown == BENCH_LINES_MAX)
		return;
	va_start(args, format);
	vsnprintf(report->shown[report->num_shown++], sizeof(report->shown[0]),
		  format, args);
	va_end(args);
}

void bench_report_note(struct bench_report *report, const char *format, ...)
{
	char line[sizeof(report->notes[0])];
	unsigned int i;
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	for (i = 0; i < report->num_notes; i++) {
		if (strcmp(report->notes[i], line) == 0)
			return;
	}
	if (report->num_notes < BENCH_LINES_MAX)
		strcpy(report->notes[report->num_notes++], line);
}

void bench_report_failure(struct bench_report *report, const char *name,
			  int err, const char *failure)
{
	bench_report_note(report, "%s: %s", name,
			  failure[0] ? failure : strerror(-err));
}

/* --- the machine --- */

struct machine {
	struct utsname uname;
	char cpu[128];
	long cpus;
	int cpus_allowed;
	double load;
	char date[32];
};

/* "model name : X" on x86; arm64 kernels say nothing of the kind. */
static void read_cpu_name(char *name, size_t size)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[256];
	char *value;

	snprintf(name, size, "unknown");
	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		value = strchr(line, ':');
		if (strncmp(line, "model name", 10) != 0 || !value)
			continue;
		value[strcspn(value, "\n")] = 0;
		snprintf(name, size, "%s", value + strspn(value, ": "));
		break;
	}
	fclose(file);
}

static struct machine machine_read(void)
{
	time_t now = time(NULL);
	struct machine machine = {
		.cpus = sysconf(_SC_NPROCESSORS_ONLN),
		.cpus_allowed = bench_num_cpus(),
	};

	uname(&machine.uname);
	read_cpu_name(machine.cpu, sizeof(machine.cpu));
	if (getloadavg(&machine.load, 1) != 1)
		machine.load = -1;
	strftime(machine.date, sizeof(machine.date), "%Y-%m-%dT%H:%M:%SZ",
		 gmtime(&now));
	return machine;
}

/* --- the table --- */

static void table_cell(FILE *out, struct bench_value value, double unit,
		       int digits)
{
	if (value.count == 0)
		fprintf(out, " %9s", "-");
	else
		fprintf(out, " %9.*f", digits, value.median / unit);
}

static void table_row(const struct bench_result *result, FILE *out)
{
	const struct bench_value *ratio = &result->ratio_to_limit;

	fprintf(out, "%-19s %-22s", result->model, result->label);
	table_cell(out, result->ops_per_second, 1e3,
		   result->ops_per_second.median < 1e7 ? 1 : 0);
	table_cell(out, result->cpu_ns_per_op, 1, 1);
	table_cell(out, result->p50_ns, 1e3, 1);
	table_cell(out, result->p99_ns, 1e3, 1);
	table_cell(out, result->p999_ns, 1e3, 1);
	table_cell(out, result->system_calls_per_op, 1, 3);
	if (ratio->count > 0)
		fprintf(out, "  %.2f [%.2f..%.2f]", ratio->median, ratio->least,
			ratio->greatest);
	if (ratio->count > 0 && result->most_ratio > 0)
		fprintf(out, ", at most %.2f", result->most_ratio);
	fprintf(out, "\n");
}

static void table_rows(const struct bench_report *report, FILE *out)
{
	const struct bench_result *result;
	const char *name = "";
	unsigned int i;

	for (i = 0; i < report->num_results; i++) {
		result = &report->results[i];
		if (strcmp(result->name, name) != 0) {
			name = result->name;
			fprintf(out, "\n%s%s%s\n", name,
				result->limit_name ? "; the limit is " : "",
				result->limit_name ? result->limit_name : "");
			fprintf(out,
				"%-19s %-22s %9s %9s %9s %9s %9s %9s  "
				"%s\n",
				"what", "how", "1000 op/s", "cpu ns/op",
				"p50 us", "p99 us", "p99.9 us", "calls/op",
				"of the limit");
		}
		table_row(result, out);
	}
}

void bench_report_table(const struct bench_report *report, FILE *out)
{
	struct machine machine = machine_read();
	unsigned int i;

	fprintf(out, "%s, %d of %ld CPUs, Linux %s %s\n", machine.cpu,
		machine.cpus_allowed, machine.cpus, machine.uname.release,
		machine.uname.machine);
	table_rows(report, out);
	if (report->num_notes > 0)
		fprintf(out, "\nTo be kept in mind\n");
	for (i = 0; i < report->num_notes; i++)
		fprintf(out, "- %s\n", report->notes[i]);
	if (report->num_shown > 0)
		fprintf(out, "\nWhat this shows\n");
	for (i = 0; i < report->num_shown; i++)
		fprintf(out, "- %s\n", report->shown[i]);
}

/* --- JSON --- */

static void json_string(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fprintf(out, "\\%c", *text);
		else if ((unsigned char)*text < 0x20)
			fprintf(out, "\\u%04x", (unsigned char)*text);
		else
			fputc(*text, out);
	}
	fputc('"', out);
}

static void json_value(FILE *out, const char *key, struct bench_value value)
{
	if (value.count == 0)
		fprintf(out, ", \"%s\": null", key);
	else
		fprintf(out, ", \"%s\": %.6g", key, value.median);
}

static void json_range(FILE *out, const char *separator, const char *key,
		       struct bench_value value)
{
	if (value.count > 0)
		fprintf(out, "%s\"%s\": [%.6g, %.6g]", separator, key,
			value.least, value.greatest);
}

static void json_result(FILE *out, const struct bench_result *result)
{
	fprintf(out,
		"    {\"name\": \"%s\", \"model\": \"%s\", "
		"\"params\": %s",
		result->name, result->model, result->params);
	json_value(out, "ops_per_second", result->ops_per_second);
	json_value(out, "cpu_ns_per_op", result->cpu_ns_per_op);
	json_value(out, "p50_ns", result->p50_ns);
	json_value(out, "p99_ns", result->p99_ns);
	json_value(out, "p999_ns", result->p999_ns);
	json_value(out, "server_over_client_cpu", result->server_over_client);
	json_value(out, "system_calls_per_op", result->system_calls_per_op);
	fprintf(out, ",\n     \"limit_name\": ");
	if (result->limit_name)
		json_string(out, result->limit_name);
	else
		fprintf(out, "null");
	json_value(out, "ratio_to_limit", result->ratio_to_limit);
	if (result->most_ratio > 0)
		fprintf(out, ", \"most_ratio_to_limit\": %.6g",
			result->most_ratio);
	fprintf(out, ", \"rounds\": %u,\n     \"range\": {",
		result->ops_per_second.count);
	/* Every result has a rate; the others may be missing. */
	json_range(out, "", "ops_per_second", result->ops_per_second);
	json_range(out, ", ", "cpu_ns_per_op", result->cpu_ns_per_op);
	json_range(out, ", ", "server_over_client_cpu",
		   result->server_over_client);
	json_range(out, ", ", "ratio_to_limit", result->ratio_to_limit);
	fprintf(out, "}}");
}

static void json_lines(FILE *out, const char *key, unsigned int count,
		       const char (*lines)[400])
{
	unsigned int i;

	fprintf(out, ",\n  \"%s\": [", key);
	for (i = 0; i < count; i++) {
		fprintf(out, "%s\n    ", i == 0 ? "" : ",");
		json_string(out, lines[i]);
	}
	fprintf(out, "]");
}

void bench_report_json(const struct bench_report *report, FILE *out)
{
	struct machine machine = machine_read();
	unsigned int i;

	fprintf(out, "{\"schema\": %d,\n  \"machine\": {\"kernel\": ", SCHEMA);
	json_string(out, machine.uname.release);
	fprintf(out, ", \"cpu\": ");
	json_string(out, machine.cpu);
	fprintf(out, ", \"cpus\": %ld, \"cpus_allowed\": %d, \"arch\": ",
		machine.cpus, machine.cpus_allowed);
	json_string(out, machine.uname.machine);
	fprintf(out, ", \"compiler\": ");
	json_string(out, __VERSION__);
	fprintf(out,
		", \"load_average\": %.2f, \"date\": \"%s\"},\n"
		"  \"results\": [",
		machine.load, machine.date);
	for (i = 0; i < report->num_results; i++) {
		fprintf(out, "%s\n", i == 0 ? "" : ",");
		json_result(out, &report->results[i]);
	}
	fprintf(out, "]");
	json_lines(out, "notes", report->num_notes, report->notes);
	json_lines(out, "shows", report->num_shown, report->shown);
	fprintf(out, "}\n");
}
