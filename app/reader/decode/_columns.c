/* Record batches to Arrow columns: the optional native core below streaming_lab.reader.decode.python.
 *
 * What goes in: the bytes of a Fetch answer (record batches, message format v2, whose values are JSON objects).
 * What comes out: for each column of the schema the buffers of one Arrow array, and two lists for Python:
 *   odd         rows that are not plain. They keep an empty place in the columns; Python reads them with json.loads
 *               (streaming_lab.reader.decode.rows) and patches or rejects them. So this file never has to decide a hard case: whatever
 *               it is not sure about is odd, and the result is the same as without it.
 *   tombstones  records without a value. They have no row.
 * Whatever is wrong with a batch itself (checksum, lengths, format) is not named here either: the walk stops, and the
 * Python decoder reads the same chunk and raises its own error.
 *
 * Rules that hold everywhere below:
 *   - A reader takes `p`, the place of its first byte, and returns the place after its last one, or NULL for "odd".
 *   - [p, end) is what belongs to the value. [p, readable_end) may be loaded from: it is the end of the caller's buffer.
 *     Eight bytes are loaded at once only when readable_end - p >= 8.
 *   - reserve() has made room before a batch is read: a row more per record in each column, and for strings as many
 *     bytes as the batch has (for JSON columns twice as many), with 8 spare ones. A string is never longer than its JSON
 *     text, canonical JSON never longer than twice what was read, so stores need no checks.
 *   - A row is written to all columns or is odd. `column->filled` is the last row in which a column had a member.
 *   - No Python object is touched while the GIL is released (between Py_BEGIN and Py_END_ALLOW_THREADS), but by
 *     read_compressed(), which takes it back for a moment.
 */
#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE /* strtod_l */
#include <Python.h>

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__APPLE__)
#include <xlocale.h>
#endif
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <nmmintrin.h>
#endif
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#if defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Arrow buffers and the eight-byte scans below are little-endian; the pure Python decoder works everywhere"
#endif

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#ifndef SOURCE_SHA256
#define SOURCE_SHA256 unknown
#endif

/* ---------------------------------------------------------------- memory */

typedef struct {
    uint8_t *bytes;
    size_t capacity;
    bool paged; /* for what is soon copied and freed: pages of its own, which go back to the system at once. malloc would
                 * keep them, among blocks of text that stay, and the copies would come on top */
} Block;

static uint8_t *bytes_resize(uint8_t *bytes, size_t from, size_t to, bool paged) {
#if defined(__linux__)
    if (paged) {
        void *moved = bytes == NULL ? mmap(NULL, to, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                                    : mremap(bytes, from, to, MREMAP_MAYMOVE);
        return moved == MAP_FAILED ? NULL : moved;
    }
#endif
    (void)from, (void)paged;
    return realloc(bytes, to);
}

static void bytes_free(uint8_t *bytes, size_t capacity, bool paged) {
#if defined(__linux__)
    if (paged) {
        if (bytes != NULL) munmap(bytes, capacity);
        return;
    }
#endif
    (void)capacity, (void)paged;
    free(bytes);
}

/* Make room for `needed` bytes. `hint` is what the whole chunk will probably need: untouched memory costs nothing, but
 * where the system does not give it (a limit of the process), what is needed will do. */
static bool block_reserve(Block *block, size_t needed, size_t hint) {
    if (needed <= block->capacity) return true;
    size_t capacity = block->capacity + block->capacity / 2;
    if (capacity < hint) capacity = hint;
    if (capacity < needed) capacity = needed;
    uint8_t *bytes = bytes_resize(block->bytes, block->capacity, capacity, block->paged);
    if (bytes == NULL && capacity > needed)
        bytes = bytes_resize(block->bytes, block->capacity, capacity = needed, block->paged);
    if (bytes == NULL) return false;
    block->bytes = bytes;
    block->capacity = capacity;
    return true;
}

static void block_free(Block *block) {
    bytes_free(block->bytes, block->capacity, block->paged);
    *block = (Block){NULL, 0, block->paged};
}

/* ---------------------------------------------------------------- columns */

/* JSON: any value, as canonical text. NOTHING: only nulls so far; what is not null is odd. INT53: an INT64 that could
 * still become FLOAT64; what is beyond 2^53 is odd. */
typedef enum { STRING = 0, INT64 = 1, FLOAT64 = 2, BOOL = 3, TIMESTAMP = 4, JSON = 5, NOTHING = 6, INT53 = 7 } Kind;

#define EXACT (1ULL << 53) /* beyond it a double no longer holds every integer */

#define SPARE 32 /* bytes behind every buffer of text, so that a stride can be stored at its end */

static inline bool has_text(Kind kind) { return kind == STRING || kind == JSON; }

typedef struct {
    uint8_t *bytes;
    size_t length;
} Text;

typedef struct {
    Text name;       /* UTF-8, as it stands between the quotes */
    Kind kind;
    bool required;   /* a row without it is odd */
    bool inferred;   /* the kind may widen: FLOAT64 rounds no integer, JSON has whole numbers as integers */
    Text *allowed;   /* a string that is none of these is odd; NULL: any string */
    size_t allowed_count;

    Block values;    /* strings: all their bytes; bool: a bitmap; else 8 bytes per row */
    Block offsets;   /* strings: row i is values[offsets[i] .. offsets[i + 1]) */
    Block validity;  /* bitmap, 1 = there is a value */
    int64_t used;    /* strings: bytes of `values` in use */
    int64_t filled;

    bool date_known; /* timestamps: the last date read, and its day. Neighbours in a log share it */
    uint8_t date_text[10];
    int64_t date_day;
} Column;

static inline void put_bit(Block *bitmap, int64_t row, bool on) {
    uint8_t *byte = bitmap->bytes + (row >> 3);
    uint8_t bit = (uint8_t)(1u << (row & 7));
    *byte = (uint8_t)(on ? *byte | bit : *byte & ~bit);
}

static inline void put_int64(Block *block, int64_t row, int64_t value) { memcpy(block->bytes + 8 * row, &value, 8); }

static inline int64_t get_int64(const Block *block, int64_t row) {
    int64_t value;
    memcpy(&value, block->bytes + 8 * row, 8);
    return value;
}

static inline void put_double(Block *block, int64_t row, double value) { memcpy(block->bytes + 8 * row, &value, 8); }

/* The row has a value, as `validity` says until put_null(); a string's bytes already lie at [offsets[row], used). */
static inline void put_present(Column *column, int64_t row) {
    if (has_text(column->kind)) put_int64(&column->offsets, row + 1, column->used);
}

static void put_null(Column *column, int64_t row) {
    put_bit(&column->validity, row, false);
    if (has_text(column->kind)) {
        column->used = get_int64(&column->offsets, row); /* forgets the bytes of a row that turned out to be odd */
        put_int64(&column->offsets, row + 1, column->used);
    } else if (column->kind == BOOL) {
        put_bit(&column->values, row, false);
    } else {
        put_int64(&column->values, row, 0);
    }
}

/* Room for rows [0, rows] in a bitmap whose new bits are all `filling`'s. */
static bool bitmap_reserve(Block *bitmap, int64_t rows, int64_t hint, int filling) {
    size_t before = bitmap->capacity;
    if (!block_reserve(bitmap, (size_t)rows / 8 + 1, (size_t)hint / 8 + 1)) return false;
    if (bitmap->capacity > before) memset(bitmap->bytes + before, filling, bitmap->capacity - before);
    return true;
}

static bool column_reserve(Column *column, int64_t rows, int64_t rows_hint, size_t bytes, size_t bytes_hint) {
    if (!bitmap_reserve(&column->validity, rows, rows_hint, 0xff)) return false;
    if (column->kind == BOOL) return bitmap_reserve(&column->values, rows, rows_hint, 0);
    if (!has_text(column->kind)) return block_reserve(&column->values, 8 * (size_t)rows, 8 * (size_t)rows_hint);
    if (column->kind == JSON) bytes *= 2, bytes_hint *= 2;
    bool first = column->offsets.bytes == NULL;
    if (!block_reserve(&column->offsets, 8 * ((size_t)rows + 1), 8 * ((size_t)rows_hint + 1))) return false;
    if (first) put_int64(&column->offsets, 0, 0);
    return block_reserve(&column->values, (size_t)column->used + bytes + SPARE, (size_t)column->used + bytes_hint + SPARE);
}

/* ---------------------------------------------------------------- a table that is being filled */

#define LEAD_SPACE 64
#define LEADS 64

/* Records of one topic resemble each other: what stands between two values (`, "price": `) repeats from row to row.
 * For each member's place in the object we keep the bytes that stood before its value last time, and whose value it
 * was. When they are there again, they were parsed before and need no second look. */
typedef struct {
    uint8_t bytes[LEAD_SPACE];
    int length; /* 0: nothing learned */
    int field;  /* index of the column, or UNKNOWN */
} Lead;

enum { UNKNOWN = -1, CLOSED = -2 };

typedef struct {
    int64_t row;
    const uint8_t *value; /* inside the buffer that is being read: valid until it is collected */
    int64_t length;
} Odd;

typedef struct {
    int64_t offset;
    const uint8_t *key; /* NULL: no key */
    int64_t length;
} Tombstone;

typedef struct {
    PyObject_HEAD
    Column *columns;
    int column_count;
    bool all_keys; /* a member that no column asks for makes the row odd, too */
    Column key;
    Block offsets;    /* int64: the record's offset */
    Block timestamps; /* int64: ms, what the broker holds */
    int64_t rows;
    Lead leads[LEADS];
    Block odd; /* Odd[odd_count], not yet collected */
    int64_t odd_count;
    Block tombstones; /* Tombstone[tombstone_count], not yet collected */
    int64_t tombstone_count;
    PyObject *odd_list;       /* [(row, bytes)], collected */
    PyObject *tombstone_list; /* [(offset, bytes | None)], collected */
    bool busy;
} Columns;

/* What a walk came to. */
typedef enum { END = 0, HAND_OVER = 1, MALFORMED = 2, NO_MEMORY = 3, PAUSED = 4 } Outcome;

/* ---------------------------------------------------------------- eight bytes at a time */

#define EACH(byte) (0x0101010101010101ULL * (byte))

static inline uint64_t load8(const uint8_t *p) {
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

static inline void store8(uint8_t *p, uint64_t word) { memcpy(p, &word, 8); }

/* The high bit of each byte that ends a run of plain characters: a quote, a backslash, a control character.
 * The usual "has a zero byte" trick: bits above the lowest marked byte may be wrong, the lowest one never is. */
static inline uint64_t stops(uint64_t word) {
    uint64_t quote = word ^ EACH('"'), backslash = word ^ EACH('\\');
    uint64_t marks = ((quote - EACH(1)) & ~quote) | ((backslash - EACH(1)) & ~backslash) | ((word - EACH(0x20)) & ~word);
    return marks & EACH(0x80);
}

static inline int lowest_bit(uint64_t bits) {
#if defined(__GNUC__) || defined(__clang__)
    return __builtin_ctzll(bits);
#else
    int bit = 0;
    while (!(bits & 1)) bits >>= 1, bit++;
    return bit;
#endif
}

/* A stride of text: copy_stride() stores STRIDE bytes and marks those that end a run of plain characters, and those that
 * are not ASCII; of marks, first_marked() says the first byte, below() keeps those before a byte. */
#if defined(__SSE2__)
enum { STRIDE = 32 }; /* a mark is one bit. Most texts end in the first stride: one branch, and it is easily foretold */

static inline uint64_t copy_stride(uint8_t *out, const uint8_t *p, uint64_t *not_ascii) {
    uint64_t marks = 0;
    *not_ascii = 0;
    for (int i = 0; i < STRIDE; i += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(p + i));
        _mm_storeu_si128((__m128i *)(out + i), bytes);
        __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
        __m128i backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        *not_ascii |= (uint64_t)(uint32_t)_mm_movemask_epi8(bytes) << i;
        marks |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control)) << i;
    }
    return marks;
}

static inline int first_marked(uint64_t marks) { return lowest_bit(marks); }
static inline uint64_t below(int byte) { return ((uint64_t)1 << byte) - 1; }
#else
enum { STRIDE = 8 }; /* a mark is the high bit of a byte */

static inline uint64_t copy_stride(uint8_t *out, const uint8_t *p, uint64_t *not_ascii) {
    uint64_t word = load8(p);
    store8(out, word);
    *not_ascii = word & EACH(0x80);
    return stops(word);
}

static inline int first_marked(uint64_t marks) { return lowest_bit(marks) >> 3; }
static inline uint64_t below(int byte) { return ((uint64_t)1 << (8 * byte)) - 1; }
#endif

/* Strict UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. */
static bool is_utf8(const uint8_t *p, const uint8_t *end) {
    while (p < end) {
        uint8_t lead = *p;
        if (lead < 0x80) {
            p++;
            continue;
        }
        int more = lead < 0xC2 ? 0 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : lead < 0xF5 ? 3 : 0;
        if (more == 0 || end - p <= more) return false;
        if (lead == 0xE0 && p[1] < 0xA0) return false;
        if (lead == 0xED && p[1] > 0x9F) return false;
        if (lead == 0xF0 && p[1] < 0x90) return false;
        if (lead == 0xF4 && p[1] > 0x8F) return false;
        for (int i = 1; i <= more; i++)
            if ((p[i] & 0xC0) != 0x80) return false;
        p += more + 1;
    }
    return true;
}

/* ---------------------------------------------------------------- strings */

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The four digits of \uXXXX at p, or -1. */
static int32_t hex4(const uint8_t *p, const uint8_t *end) {
    if (end - p < 4) return -1;
    int32_t code = 0;
    for (int i = 0; i < 4; i++) {
        int value = hex_digit(p[i]);
        if (value < 0) return -1;
        code = code << 4 | value;
    }
    return code;
}

static uint8_t *put_utf8(uint8_t *out, int32_t code) {
    if (code < 0x80) {
        *out++ = (uint8_t)code;
    } else if (code < 0x800) {
        *out++ = (uint8_t)(0xC0 | code >> 6);
        *out++ = (uint8_t)(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        *out++ = (uint8_t)(0xE0 | code >> 12);
        *out++ = (uint8_t)(0x80 | (code >> 6 & 0x3F));
        *out++ = (uint8_t)(0x80 | (code & 0x3F));
    } else {
        *out++ = (uint8_t)(0xF0 | code >> 18);
        *out++ = (uint8_t)(0x80 | (code >> 12 & 0x3F));
        *out++ = (uint8_t)(0x80 | (code >> 6 & 0x3F));
        *out++ = (uint8_t)(0x80 | (code & 0x3F));
    }
    return out;
}

/* One escape, p at its backslash. A lone surrogate is odd: Python's str can hold it, Arrow cannot. */
static const uint8_t *read_escape(const uint8_t *p, const uint8_t *end, uint8_t **out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (end - p < 2) return NULL;
    uint8_t c = p[1];
    if (c != 'u') {
        const char *found = c ? strchr(from, c) : NULL;
        if (found == NULL) return NULL;
        *(*out)++ = (uint8_t)to[found - from];
        return p + 2;
    }
    int32_t code = hex4(p + 2, end);
    if (code < 0) return NULL;
    p += 6;
    if (code >= 0xD800 && code < 0xE000) {
        if (code >= 0xDC00 || end - p < 6 || p[0] != '\\' || p[1] != 'u') return NULL;
        int32_t low = hex4(p + 2, end);
        if (low < 0xDC00 || low >= 0xE000) return NULL;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        p += 6;
    }
    *out = put_utf8(*out, code);
    return p;
}

/* Copies plain characters; returns the place of what ends them (quote, backslash, control character), NULL at the end.
 * `high` gets a bit for each of them that is not ASCII. */
static inline const uint8_t *copy_plain(const uint8_t *p, const uint8_t *end, const uint8_t *readable_end, uint8_t **to,
                                        uint64_t *high) {
    uint8_t *out = *to;
    while (readable_end - p >= STRIDE) {
        uint64_t not_ascii, marks = copy_stride(out, p, &not_ascii);
        int plain = marks == 0 ? STRIDE : first_marked(marks);
        *high |= plain == STRIDE ? not_ascii : not_ascii & below(plain);
        out += plain;
        p += plain;
        if (p >= end) return NULL; /* `out` stays within what reserve() made: the batch's bytes and SPARE more */
        if (plain < STRIDE) {
            *to = out;
            return p;
        }
    }
    while (p < end && *p >= 0x20 && *p != '"' && *p != '\\') *high |= *p & 0x80, *out++ = *p++;
    *to = out;
    return p < end ? p : NULL;
}

/* A JSON string at p (after its opening quote), unescaped to the end of the column's bytes. */
static const uint8_t *read_text(Column *column, const uint8_t *p, const uint8_t *end, const uint8_t *readable_end) {
    uint8_t *begin = column->values.bytes + column->used, *out = begin;
    uint64_t high = 0;
    for (;;) {
        p = copy_plain(p, end, readable_end, &out, &high);
        if (p == NULL || *p < 0x20) return NULL;
        if (*p == '"') break;
        p = read_escape(p, end, &out); /* writes UTF-8 of its own: whole characters, so the check below still holds */
        if (p == NULL) return NULL;
        high |= EACH(0x80);
    }
    if (high && !is_utf8(begin, out)) return NULL;
    column->used += out - begin;
    return p + 1;
}

static bool is_allowed(const Column *column, const uint8_t *text, size_t length) {
    if (column->allowed == NULL) return true;
    for (size_t i = 0; i < column->allowed_count; i++)
        if (column->allowed[i].length == length && memcmp(column->allowed[i].bytes, text, length) == 0) return true;
    return false;
}

static const uint8_t *read_string(Column *column, int64_t row, const uint8_t *p, const uint8_t *end,
                                  const uint8_t *readable_end) {
    if (*p != '"') return NULL;
    int64_t begin = column->used;
    p = read_text(column, p + 1, end, readable_end);
    if (p == NULL || !is_allowed(column, column->values.bytes + begin, (size_t)(column->used - begin))) return NULL;
    put_present(column, row);
    return p;
}

/* ---------------------------------------------------------------- numbers */

static const double POWERS[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                  1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static inline bool is_digit(uint8_t c) { return (uint8_t)(c - '0') <= 9; }

/* How many of a word's bytes, from its lowest on, are digits. A carry spoils only bytes above the first other one. */
static inline int digits_in(uint64_t word) {
    uint64_t others = ((word & EACH(0xF0)) ^ EACH(0x30)) | (((word + EACH(0x06)) & EACH(0xF0)) ^ EACH(0x30));
    return others ? lowest_bit(others) >> 3 : 8;
}

/* The number that a word's lowest `count` bytes, 1 to 8 digits, show: neighbours are joined to pairs, pairs to fours. */
static inline uint64_t number_of(uint64_t word, int count) {
    word = (word << (64 - 8 * count)) & EACH(0x0F);
    word = (word * (1 + (10 << 8))) >> 8 & 0x00FF00FF00FF00FFULL;
    word = (word * (1 + (100 << 16))) >> 16 & 0x0000FFFF0000FFFFULL;
    return (word * (1 + (10000ULL << 32))) >> 32;
}

/* Digits from p on, added to *number while there are at most 19 in all (10^19 fits 64 bits); *count counts them all.
 * Up to seven are read without a branch on how many there are. */
static inline const uint8_t *read_digits(const uint8_t *p, const uint8_t *end, uint64_t *number, int *count) {
    static const uint32_t powers[9] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};
    if (end - p >= 8 && *count <= 11) {
        uint64_t word = load8(p);
        int digits = digits_in(word);
        if (digits == 0) return p;
        *number = *number * powers[digits] + number_of(word, digits);
        *count += digits;
        p += digits;
        if (digits < 8) return p;
    }
    for (; p < end && is_digit(*p); p++)
        if (++*count <= 19) *number = *number * 10 + (*p - '0');
    return p;
}

/* The part of a JSON number before point and exponent: 0, or digits that do not begin with 0. */
static const uint8_t *read_whole_part(const uint8_t *p, const uint8_t *end, uint64_t *number, int *count) {
    const uint8_t *begin = p;
    p = read_digits(p, end, number, count);
    if (p == begin || (*begin == '0' && p - begin > 1)) return NULL;
    return p;
}

/* A number with a point or an exponent is not plain here: the caller finds it instead of a comma. */
static const uint8_t *read_int64(Column *column, int64_t row, const uint8_t *p, const uint8_t *end) {
    bool negative = *p == '-';
    uint64_t number = 0;
    int digits = 0;
    p = read_whole_part(p + negative, end, &number, &digits);
    if (p == NULL || digits > 19 || number > (column->kind == INT53 ? EXACT : (uint64_t)INT64_MAX)) return NULL;
    put_int64(&column->values, row, negative ? -(int64_t)number : (int64_t)number);
    put_present(column, row);
    return p;
}

#if defined(_WIN32)
static _locale_t plain_locale;
#define PARSE_DOUBLE(text, stop) _strtod_l(text, stop, plain_locale)
#else
static locale_t plain_locale; /* "C": a decimal point is a point, whatever the program has set */
#define PARSE_DOUBLE(text, stop) strtod_l(text, stop, plain_locale)
#endif

/* Correctly rounded, as Python's float() is: by the C library. Overflow and very long numbers are odd. */
static bool parse_double(const uint8_t *begin, const uint8_t *end, double *value) {
    char text[64], *stop;
    size_t length = (size_t)(end - begin);
    if (length >= sizeof text) return false;
    memcpy(text, begin, length);
    text[length] = 0;
    *value = PARSE_DOUBLE(text, &stop);
    return stop == text + length && isfinite(*value);
}

static const uint8_t *read_float64(Column *column, int64_t row, const uint8_t *p, const uint8_t *end) {
    const uint8_t *begin = p;
    bool negative = *p == '-';
    uint64_t number = 0;
    int digits = 0, power = 0;
    p = read_whole_part(p + negative, end, &number, &digits);
    if (p == NULL) return NULL;
    bool whole = true;
    if (p < end && *p == '.') {
        const uint8_t *fraction = ++p;
        p = read_digits(p, end, &number, &digits);
        if (p == fraction) return NULL;
        power = (int)(fraction - p);
        whole = false;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        bool down = p < end && *p == '-';
        if (p < end && (*p == '-' || *p == '+')) p++;
        uint64_t exponent = 0;
        int exponent_digits = 0;
        const uint8_t *first = p;
        p = read_digits(p, end, &exponent, &exponent_digits);
        if (p == first || exponent_digits > 5) return NULL;
        power += down ? -(int)exponent : (int)exponent;
        whole = false;
    }
    if (whole && negative && number == 0) return NULL; /* -0 is the integer 0 to json.loads, and so 0.0, not -0.0 */
    if (whole && column->inferred && (digits > 19 || number > EXACT)) return NULL;
    double value;
    if (FLT_EVAL_METHOD == 0 && digits <= 19 && number <= EXACT && power >= -22 && power <= 22) {
        /* Clinger's case: both operands are exact, so the one operation rounds once, correctly. */
        value = power < 0 ? (double)number / POWERS[-power] : (double)number * POWERS[power];
        if (negative) value = -value;
    } else if (!parse_double(begin, p, &value)) {
        return NULL;
    }
    put_double(&column->values, row, value);
    put_present(column, row);
    return p;
}

/* ---------------------------------------------------------------- true, false, null */

static inline const uint8_t *read_word(const char *word, size_t length, const uint8_t *p, const uint8_t *end) {
    return (size_t)(end - p) >= length && memcmp(p, word, length) == 0 ? p + length : NULL;
}

static const uint8_t *read_bool(Column *column, int64_t row, const uint8_t *p, const uint8_t *end) {
    bool yes = *p == 't';
    p = yes ? read_word("true", 4, p, end) : read_word("false", 5, p, end);
    if (p == NULL) return NULL;
    put_bit(&column->values, row, yes);
    put_present(column, row);
    return p;
}

/* ---------------------------------------------------------------- timestamps */

/* Two digits, or -1. */
static inline int two_digits(const uint8_t *p) {
    return is_digit(p[0]) && is_digit(p[1]) ? (p[0] - '0') * 10 + (p[1] - '0') : -1;
}

/* Days from 1970-01-01 in the proleptic Gregorian calendar: Howard Hinnant's days_from_civil, for years above 0. */
static int64_t day_number(int64_t year, int64_t month, int64_t day) {
    year -= month <= 2;
    int64_t era = year / 400, of_era = year % 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* YYYY-MM-DD. The first and last year are odd: an offset from UTC could leave Python's calendar. */
static bool read_date(const uint8_t *p, int64_t *day) {
    static const int lengths[13] = {0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int century = two_digits(p), of_century = two_digits(p + 2), month = two_digits(p + 5), date = two_digits(p + 8);
    if (century < 0 || of_century < 0 || p[4] != '-' || p[7] != '-') return false;
    int year = century * 100 + of_century;
    if (year < 2 || year > 9998 || month < 1 || month > 12 || date < 1 || date > lengths[month]) return false;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (month == 2 && date == 29 && !leap) return false;
    *day = day_number(year, month, date);
    return true;
}

/* What follows the seconds: Z or +HH:MM or -HH:MM, as seconds east of UTC. */
static const uint8_t *read_zone(const uint8_t *p, const uint8_t *end, int *east) {
    *east = 0;
    if (p < end && *p == 'Z') return p + 1;
    if (end - p < 6 || (*p != '+' && *p != '-') || p[3] != ':') return NULL;
    int hours = two_digits(p + 1), minutes = two_digits(p + 4);
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return NULL;
    *east = (hours * 3600 + minutes * 60) * (*p == '-' ? -1 : 1);
    return p + 6;
}

/* "YYYY-MM-DDTHH:MM:SS[.f to .ffffff](Z|+HH:MM|-HH:MM)" (RFC 3339); every other form is odd. */
static const uint8_t *read_timestamp(Column *column, int64_t row, const uint8_t *p, const uint8_t *end) {
    if (*p != '"' || end - p < 22) return NULL;
    p++;
    if (!column->date_known || memcmp(p, column->date_text, 10) != 0) {
        column->date_known = read_date(p, &column->date_day);
        if (!column->date_known) return NULL;
        memcpy(column->date_text, p, 10);
    }
    int hour = two_digits(p + 11), minute = two_digits(p + 14), second = two_digits(p + 17);
    if (p[10] != 'T' || p[13] != ':' || p[16] != ':') return NULL;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59) return NULL;
    p += 19;
    uint64_t micros = 0;
    if (p < end && *p == '.') {
        int digits = 0;
        p = read_digits(p + 1, end, &micros, &digits);
        if (digits < 1 || digits > 6) return NULL;
        for (; digits < 6; digits++) micros *= 10;
    }
    int east;
    p = read_zone(p, end, &east);
    if (p == NULL || p >= end || *p != '"') return NULL;
    int64_t seconds = column->date_day * 86400 + hour * 3600 + minute * 60 + second - east;
    put_int64(&column->values, row, seconds * 1000000 + (int64_t)micros);
    put_present(column, row);
    return p + 1;
}

/* ---------------------------------------------------------------- members that no column asks for */

static inline const uint8_t *skip_space(const uint8_t *p, const uint8_t *end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
    return p;
}

/* A string, p after its opening quote. It is checked like any other: json.loads would refuse the row, too. */
static const uint8_t *skip_text(const uint8_t *p, const uint8_t *end, const uint8_t *readable_end) {
    const uint8_t *begin = p;
    uint8_t nowhere[8], *out;
    for (;;) {
        while (readable_end - p >= 8 && p < end && stops(load8(p)) == 0) p += 8;
        while (p < end && *p >= 0x20 && *p != '"' && *p != '\\') p++;
        if (p >= end || *p < 0x20) return NULL;
        if (*p == '"') return is_utf8(begin, p) ? p + 1 : NULL;
        out = nowhere;
        p = read_escape(p, end, &out);
        if (p == NULL) return NULL;
    }
}

/* Any JSON number, short enough that Python would not refuse it for its length. */
static const uint8_t *skip_number(const uint8_t *p, const uint8_t *end) {
    const uint8_t *begin = p;
    uint64_t number = 0;
    int digits = 0;
    p = read_whole_part(p + (*p == '-'), end, &number, &digits);
    if (p == NULL) return NULL;
    if (p < end && *p == '.') {
        const uint8_t *fraction = ++p;
        p = read_digits(p, end, &number, &digits);
        if (p == fraction) return NULL;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '-' || *p == '+')) p++;
        const uint8_t *exponent = p;
        p = read_digits(p, end, &number, &digits);
        if (p == exponent) return NULL;
    }
    return p - begin <= 256 ? p : NULL;
}

#define DEEPEST 32 /* nested deeper is odd: neither our stack nor Python's limit is tried */

static const uint8_t *skip_value(const uint8_t *p, const uint8_t *end, const uint8_t *readable_end, int depth);

/* The rest of an object or array, p after its opening bracket. */
static const uint8_t *skip_nested(const uint8_t *p, const uint8_t *end, const uint8_t *readable_end, int depth,
                                  bool object) {
    uint8_t closing = object ? '}' : ']';
    p = skip_space(p, end);
    if (p < end && *p == closing) return p + 1;
    for (;;) {
        if (object) {
            if (p >= end || *p != '"') return NULL;
            p = skip_text(p + 1, end, readable_end);
            if (p == NULL) return NULL;
            p = skip_space(p, end);
            if (p >= end || *p != ':') return NULL;
            p = skip_space(p + 1, end);
        }
        p = skip_value(p, end, readable_end, depth);
        if (p == NULL) return NULL;
        p = skip_space(p, end);
        if (p >= end) return NULL;
        if (*p == closing) return p + 1;
        if (*p != ',') return NULL;
        p = skip_space(p + 1, end);
    }
}

static const uint8_t *skip_value(const uint8_t *p, const uint8_t *end, const uint8_t *readable_end, int depth) {
    if (p >= end || depth > DEEPEST) return NULL;
    switch (*p) {
        case '"': return skip_text(p + 1, end, readable_end);
        case '{': return skip_nested(p + 1, end, readable_end, depth + 1, true);
        case '[': return skip_nested(p + 1, end, readable_end, depth + 1, false);
        case 't': return read_word("true", 4, p, end);
        case 'f': return read_word("false", 5, p, end);
        case 'n': return read_word("null", 4, p, end);
        default: return skip_number(p, end);
    }
}

/* ---------------------------------------------------------------- any value, as canonical JSON text */

/* What streaming_lab.reader.decode.values.canonical_json makes of it: json.dumps(json.loads(value), ensure_ascii=False). The readers write from
 * *to on and move it: at most two bytes for each that they read, a comma or colon and the space after it. */

/* A character as json.dumps has it within a string. */
static uint8_t *put_escaped(uint8_t *out, uint8_t c) {
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt", digits[] = "0123456789abcdef";
    const char *found = c ? strchr(from, c) : NULL;
    if (found != NULL) {
        *out++ = '\\';
        *out++ = (uint8_t)to[found - from];
    } else if (c < 0x20) { /* it was written \u00XX: as long as this */
        memcpy(out, "\\u00", 4);
        out[4] = (uint8_t)digits[c >> 4];
        out[5] = (uint8_t)digits[c & 0xf];
        out += 6;
    } else {
        *out++ = c;
    }
    return out;
}

/* A string, p after its opening quote. */
static const uint8_t *read_json_text(const uint8_t *p, const uint8_t *end, const uint8_t *readable_end, uint8_t **to) {
    uint8_t *begin = *to, *out = begin;
    uint64_t high = 0;
    *out++ = '"';
    for (;;) {
        p = copy_plain(p, end, readable_end, &out, &high);
        if (p == NULL || *p < 0x20) return NULL;
        if (*p == '"') break;
        uint8_t *before = out;
        p = read_escape(p, end, &out);
        if (p == NULL) return NULL;
        if (out - before == 1) out = put_escaped(before, *before);
        high |= EACH(0x80);
    }
    if (high && !is_utf8(begin, out)) return NULL;
    *out++ = '"';
    *to = out;
    return p + 1;
}

/* Are these digits, `count` significant ones, those that Python's repr gives to their float64? Up to 15 always are, if
 * the last one is no zero (DBL_DIG); 16 or 17 are when one digit less would be another number, and they are the nearest. */
static bool is_shortest(const uint8_t *begin, const uint8_t *end, int count) {
    double value, fewer;
    char text[40];
    if (count <= 15) return true;
    if (count > 17 || !parse_double(begin, end, &value)) return false;
    value = fabs(value);
    snprintf(text, sizeof text, "%.*e", count - 2, value);
    text[1] = '.'; /* whatever the program's locale says */
    const uint8_t *read = (const uint8_t *)text;
    if (!parse_double(read, read + strlen(text), &fewer) || fewer == value) return false;
    snprintf(text, sizeof text, "%.*e", count - 1, value);
    const uint8_t *p = begin;
    while (p < end && (*p < '1' || *p > '9')) p++; /* the first significant one */
    for (int i = 0; i <= count; i++) {
        if (i == 1) continue; /* the point */
        if (p < end && *p == '.') p++;
        if (p >= end || *p++ != (uint8_t)text[i]) return false;
    }
    return true;
}

/* A number that repr would write without an exponent. An exponent here, or -0 (json.loads' own case), is odd. */
static const uint8_t *read_json_number(const uint8_t *p, const uint8_t *end, uint8_t **to) {
    const uint8_t *begin = p, *stop;
    uint64_t number = 0;
    int digits = 0;
    bool negative = *p == '-';
    p = stop = read_whole_part(p + negative, end, &number, &digits);
    if (p == NULL || p - begin > 256) return NULL;
    if (p < end && *p == '.') {
        const uint8_t *fraction = ++p;
        int significant = number > 0 ? digits : 0, zeros = 0;
        p = read_digits(p, end, &number, &digits);
        if (p == fraction || p - begin > 60) return NULL;
        for (stop = p; stop - fraction > 1 && stop[-1] == '0'; stop--) {
        }
        while (significant == 0 && fraction + zeros < stop && fraction[zeros] == '0') zeros++;
        significant += (int)(stop - fraction) - zeros;
        if (significant > 0) { /* not a zero */
            if (zeros > 3 || digits - (p - fraction) > 15 || !is_shortest(begin, stop, significant)) return NULL;
        }
    } else if (negative && number == 0) {
        return NULL;
    }
    if (p < end && (*p == 'e' || *p == 'E')) return NULL;
    memcpy(*to, begin, (size_t)(stop - begin));
    *to += stop - begin;
    return p;
}

#define MOST_MEMBERS 32 /* of a nested object; each name is compared with those before it */

static const uint8_t *read_json(const uint8_t *p, const uint8_t *end, const uint8_t *readable_end, int depth,
                                uint8_t **to);

static bool is_one_of(const Text *all, int count, Text text) {
    for (int i = 0; i < count; i++)
        if (all[i].length == text.length && memcmp(all[i].bytes, text.bytes, text.length) == 0) return true;
    return false;
}

/* The rest of an object or array, p after its opening bracket. A name that comes twice is odd: the last one counts. */
static const uint8_t *read_json_nested(const uint8_t *p, const uint8_t *end, const uint8_t *readable_end, int depth,
                                       bool object, uint8_t **to) {
    uint8_t closing = object ? '}' : ']';
    Text names[MOST_MEMBERS];
    int count = 0;
    *(*to)++ = object ? '{' : '[';
    p = skip_space(p, end);
    if (p < end && *p == closing) {
        *(*to)++ = closing;
        return p + 1;
    }
    for (;;) {
        if (object) {
            if (p >= end || *p != '"' || count == MOST_MEMBERS) return NULL;
            uint8_t *name = *to;
            p = read_json_text(p + 1, end, readable_end, to);
            if (p == NULL) return NULL;
            names[count] = (Text){name, (size_t)(*to - name)};
            if (is_one_of(names, count, names[count])) return NULL;
            count++;
            p = skip_space(p, end);
            if (p >= end || *p != ':') return NULL;
            *(*to)++ = ':';
            *(*to)++ = ' ';
            p = skip_space(p + 1, end);
        }
        p = read_json(p, end, readable_end, depth, to);
        if (p == NULL) return NULL;
        p = skip_space(p, end);
        if (p >= end) return NULL;
        if (*p == closing) break;
        if (*p != ',') return NULL;
        *(*to)++ = ',';
        *(*to)++ = ' ';
        p = skip_space(p + 1, end);
    }
    *(*to)++ = closing;
    return p + 1;
}

static const uint8_t *read_json_word(const char *word, size_t length, const uint8_t *p, const uint8_t *end,
                                     uint8_t **to) {
    p = read_word(word, length, p, end);
    memcpy(*to, word, p == NULL ? 0 : length);
    *to += p == NULL ? 0 : length;
    return p;
}

static const uint8_t *read_json(const uint8_t *p, const uint8_t *end, const uint8_t *readable_end, int depth,
                                uint8_t **to) {
    if (p >= end || depth > DEEPEST) return NULL;
    switch (*p) {
        case '"': return read_json_text(p + 1, end, readable_end, to);
        case '{': return read_json_nested(p + 1, end, readable_end, depth + 1, true, to);
        case '[': return read_json_nested(p + 1, end, readable_end, depth + 1, false, to);
        case 't': return read_json_word("true", 4, p, end, to);
        case 'f': return read_json_word("false", 5, p, end, to);
        case 'n': return read_json_word("null", 4, p, end, to);
        default: return read_json_number(p, end, to);
    }
}

/* The end of a number's canonical text without a ".0": 1.0 is 1, but -0.0 stays. As cells.by_value has it; the 15 digits
 * before a point that read_json_number takes are within 2^53. */
static uint8_t *without_zero_fraction(const uint8_t *text, uint8_t *end) {
    bool whole = end - text > 2 && end[-1] == '0' && end[-2] == '.';
    bool negative_zero = end - text == 4 && text[0] == '-' && text[1] == '0';
    return whole && !negative_zero ? end - 2 : end;
}

static const uint8_t *read_any(Column *column, int64_t row, const uint8_t *p, const uint8_t *end,
                               const uint8_t *readable_end) {
    uint8_t *text = column->values.bytes + column->used, *out = text;
    bool number = *p == '-' || is_digit(*p);
    p = read_json(p, end, readable_end, 0, &out);
    if (p == NULL) return NULL;
    if (number && column->inferred) out = without_zero_fraction(text, out);
    column->used = out - column->values.bytes;
    put_present(column, row);
    return p;
}

/* ---------------------------------------------------------------- objects */

static inline bool has_lead(const Lead *lead, const uint8_t *p, const uint8_t *end, const uint8_t *readable_end) {
    if (lead->length == 0 || lead->length >= end - p || readable_end - p < LEAD_SPACE) return false;
    int i = 0;
    for (; i + 8 <= lead->length; i += 8)
        if (load8(p + i) != load8(lead->bytes + i)) return false;
    if (i == lead->length) return true;
    return (load8(p + i) ^ load8(lead->bytes + i)) << (64 - 8 * (lead->length - i)) == 0;
}

static void learn_lead(Lead *lead, const uint8_t *begin, const uint8_t *end, int field) {
    if (end - begin > LEAD_SPACE - 8) return; /* load8 of the last word must stay inside `bytes` */
    memcpy(lead->bytes, begin, (size_t)(end - begin));
    lead->length = (int)(end - begin);
    lead->field = field;
}

static int find_column(const Columns *self, const uint8_t *name, size_t length) {
    for (int i = 0; i < self->column_count; i++) {
        const Text *known = &self->columns[i].name;
        if (known->length == length && memcmp(known->bytes, name, length) == 0) return i;
    }
    return UNKNOWN;
}

/* From the end of a value (or the object's beginning) to the next value: comma, name, colon; or the closing brace. */
static const uint8_t *read_name(const Columns *self, const uint8_t *p, const uint8_t *end, bool first, int *field) {
    p = skip_space(p, end);
    if (p >= end || (first && *p != '{')) return NULL;
    if (first) p = skip_space(p + 1, end);
    if (p < end && *p == '}') {
        *field = CLOSED;
        return p + 1;
    }
    if (!first) {
        if (*p != ',') return NULL;
        p = skip_space(p + 1, end);
    }
    if (p >= end || *p != '"') return NULL;
    const uint8_t *name = ++p;
    while (p < end && *p >= 0x20 && *p != '"' && *p != '\\') p++;
    if (p >= end || *p != '"' || !is_utf8(name, p)) return NULL; /* an escaped name may be a column's: odd */
    *field = find_column(self, name, (size_t)(p - name));
    p = skip_space(p + 1, end);
    if (p >= end || *p != ':') return NULL;
    p = skip_space(p + 1, end);
    return p < end ? p : NULL;
}

/* The value of a column's member, p < end. */
static inline const uint8_t *read_value(Column *column, int64_t row, const uint8_t *p, const uint8_t *end,
                                        const uint8_t *readable_end) {
    if (*p == 'n') {
        p = read_word("null", 4, p, end);
        if (p == NULL || column->required) return NULL;
        put_null(column, row);
        return p;
    }
    switch (column->kind) {
        case STRING: return read_string(column, row, p, end, readable_end);
        case INT64:
        case INT53: return read_int64(column, row, p, end);
        case FLOAT64: return read_float64(column, row, p, end);
        case BOOL: return read_bool(column, row, p, end);
        case TIMESTAMP: return read_timestamp(column, row, p, end);
        case JSON: return read_any(column, row, p, end, readable_end);
        case NOTHING: return NULL;
    }
    return NULL;
}

/* One record's value into row `row`: true when it was plain. The columns it did not reach are left as they were. */
static bool read_object(Columns *self, int64_t row, const uint8_t *p, const uint8_t *end, const uint8_t *readable_end) {
    int filled = 0;
    for (int place = 0;; place++) {
        Lead *lead = &self->leads[place < LEADS ? place : LEADS - 1];
        int field;
        if (has_lead(lead, p, end, readable_end) && place < LEADS) {
            p += lead->length;
            field = lead->field;
        } else {
            const uint8_t *begin = p;
            p = read_name(self, p, end, place == 0, &field);
            if (p == NULL) return false;
            if (field == CLOSED) break;
            if (place < LEADS) learn_lead(lead, begin, p, field);
        }
        if (field == UNKNOWN) {
            if (self->all_keys) return false;
            p = skip_value(p, end, readable_end, 0);
        } else {
            Column *column = &self->columns[field];
            if (column->filled == row) return false; /* the same name twice: to json.loads the last one counts */
            column->filled = row;
            filled++;
            p = read_value(column, row, p, end, readable_end);
        }
        if (p == NULL) return false;
    }
    if (skip_space(p, end) != end) return false;
    for (int i = 0; filled < self->column_count && i < self->column_count; i++) {
        Column *column = &self->columns[i];
        if (column->filled == row) continue;
        if (column->required) return false;
        put_null(column, row);
        filled++;
    }
    return true;
}

/* ---------------------------------------------------------------- records */

/* A zigzag varint of at most `most` bytes (5 for 32 bits, 10 for 64). */
static inline const uint8_t *read_varint(const uint8_t *p, const uint8_t *end, int most, int64_t *value) {
    uint64_t bits = 0;
    for (int i = 0; i < most; i++) {
        if (p >= end) return NULL;
        uint8_t byte = *p++;
        bits |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *value = (int64_t)(bits >> 1) ^ -(int64_t)(bits & 1);
            return p;
        }
    }
    return NULL;
}

/* A length and as many bytes, or -1 and none (then *bytes is NULL). */
static inline const uint8_t *read_bytes(const uint8_t *p, const uint8_t *end, const uint8_t **bytes, int64_t *length) {
    p = read_varint(p, end, 5, length);
    if (p == NULL || *length < -1 || *length > end - p) return NULL;
    *bytes = *length < 0 ? NULL : p;
    return *length < 0 ? p : p + *length;
}

static const uint8_t *skip_headers(const uint8_t *p, const uint8_t *end) {
    int64_t count, length;
    const uint8_t *bytes;
    p = read_varint(p, end, 5, &count);
    if (p == NULL || count < 0) return NULL;
    for (; count > 0; count--) {
        p = read_bytes(p, end, &bytes, &length);
        if (p == NULL || bytes == NULL) return NULL; /* a header has a name */
        p = read_bytes(p, end, &bytes, &length);
        if (p == NULL) return NULL;
    }
    return p;
}

/* What the batch says about its records. */
typedef struct {
    int64_t base_offset, first_timestamp, append_time;
    bool use_append_time; /* the broker's clock instead of the producer's */
    int64_t count;
    int64_t start, end; /* the offsets that are wanted: [start, end) */
} Batch;

static void put_key(Column *key, int64_t row, const uint8_t *bytes, int64_t length) {
    if (bytes == NULL) {
        put_null(key, row);
        return;
    }
    memcpy(key->values.bytes + key->used, bytes, (size_t)length);
    key->used += length;
    put_present(key, row);
}

static bool note_tombstone(Columns *self, int64_t offset, const uint8_t *key, int64_t length) {
    Tombstone *all;
    size_t needed = sizeof *all * (size_t)(self->tombstone_count + 1);
    if (!block_reserve(&self->tombstones, needed, 64 * sizeof *all)) return false;
    all = (Tombstone *)self->tombstones.bytes;
    all[self->tombstone_count++] = (Tombstone){offset, key, length};
    return true;
}

/* Leaves row `row` empty in every column, and remembers where its bytes are. */
static bool note_odd(Columns *self, int64_t row, const uint8_t *value, int64_t length) {
    Odd *all;
    if (!block_reserve(&self->odd, sizeof *all * (size_t)(self->odd_count + 1), 64 * sizeof *all)) return false;
    all = (Odd *)self->odd.bytes;
    all[self->odd_count++] = (Odd){row, value, length};
    for (int i = 0; i < self->column_count; i++) put_null(&self->columns[i], row);
    return true;
}

/* One record, p at its length. */
static const uint8_t *read_record(Columns *self, const Batch *batch, const uint8_t *p, const uint8_t *end,
                                  const uint8_t *readable_end, Outcome *outcome) {
    int64_t length, delta, offset, key_length, value_length;
    const uint8_t *key, *value;
    *outcome = MALFORMED;
    p = read_varint(p, end, 5, &length);
    if (p == NULL || length < 1 || length > end - p) return NULL;
    const uint8_t *record_end = p + length;
    p = read_varint(p + 1, record_end, 10, &delta); /* the one byte of attributes is unused */
    if (p != NULL) p = read_varint(p, record_end, 5, &offset);
    if (p != NULL) p = read_bytes(p, record_end, &key, &key_length);
    if (p != NULL) p = read_bytes(p, record_end, &value, &value_length);
    if (p != NULL) p = skip_headers(p, record_end);
    if (p != record_end || offset < 0 || batch->base_offset > INT64_MAX - offset) return NULL;
    offset += batch->base_offset;
    if (delta > 0 ? batch->first_timestamp > INT64_MAX - delta : batch->first_timestamp < INT64_MIN - delta) return NULL;
    *outcome = END;
    if (offset < batch->start || offset >= batch->end) return record_end;
    if (value == NULL) {
        if (!note_tombstone(self, offset, key, key_length)) *outcome = NO_MEMORY;
        return record_end;
    }
    int64_t row = self->rows++;
    put_int64(&self->offsets, row, offset);
    put_int64(&self->timestamps, row, batch->use_append_time ? batch->append_time : batch->first_timestamp + delta);
    put_key(&self->key, row, key, key_length);
    if (!read_object(self, row, value, value + value_length, readable_end)) {
        if (!note_odd(self, row, value, value_length)) *outcome = NO_MEMORY;
    }
    return record_end;
}

#define SMALLEST_RECORD 7 /* one byte each: length, attributes, timestamp, offset, key length, value length, headers */
#define MOST_AHEAD (16u << 20) /* bytes: one batch that compresses well says nothing about the others */

/* Room for one batch more. `remaining` is how much of the chunk is left, this batch included: it sets the hints. */
static bool reserve(Columns *self, int64_t count, size_t bytes, size_t remaining) {
    if (remaining > MOST_AHEAD) remaining = bytes > MOST_AHEAD ? bytes : MOST_AHEAD;
    int64_t rows = self->rows + count;
    double density = bytes > 0 ? (double)count / (double)bytes : 0.0;
    int64_t hint = self->rows + (int64_t)(1.1 * density * (double)remaining) + 16;
    if (!block_reserve(&self->offsets, 8 * (size_t)rows, 8 * (size_t)hint)) return false;
    if (!block_reserve(&self->timestamps, 8 * (size_t)rows, 8 * (size_t)hint)) return false;
    if (!column_reserve(&self->key, rows, hint, bytes, bytes)) return false;
    for (int i = 0; i < self->column_count; i++)
        if (!column_reserve(&self->columns[i], rows, hint, bytes, remaining)) return false;
    return true;
}

/* The records of one batch, uncompressed. A count that its bytes cannot hold is malformed, and asks for no memory. */
static Outcome read_records(Columns *self, const Batch *batch, const uint8_t *p, const uint8_t *end,
                            const uint8_t *readable_end, size_t remaining) {
    if (batch->count < 0 || batch->count > (end - p) / SMALLEST_RECORD) return MALFORMED;
    if (!reserve(self, batch->count, (size_t)(end - p), remaining)) return NO_MEMORY;
    for (int64_t i = 0; i < batch->count; i++) {
        Outcome outcome;
        p = read_record(self, batch, p, end, readable_end, &outcome);
        if (outcome != END) return outcome;
    }
    return p == end ? END : MALFORMED;
}

/* ---------------------------------------------------------------- CRC-32C (RFC 3720, the Castagnoli polynomial) */

static uint32_t crc_tables[8][256];

static void make_crc_tables(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
        crc_tables[0][byte] = crc;
    }
    for (int k = 1; k < 8; k++)
        for (int byte = 0; byte < 256; byte++)
            crc_tables[k][byte] = crc_tables[k - 1][byte] >> 8 ^ crc_tables[0][crc_tables[k - 1][byte] & 0xff];
}

/* Eight bytes a step, by tables: "slicing by 8". For processors without an instruction for it. */
static uint32_t crc32c_tables(const uint8_t *p, size_t length) {
    uint64_t crc = 0xFFFFFFFFu;
    for (; length >= 8; length -= 8, p += 8) {
        uint64_t word = load8(p) ^ crc;
        crc = 0;
        for (int k = 0; k < 8; k++) crc ^= crc_tables[7 - k][word >> (8 * k) & 0xff];
    }
    for (; length > 0; length--, p++) crc = crc >> 8 ^ crc_tables[0][(crc ^ *p) & 0xff];
    return (uint32_t)~crc;
}

static uint32_t (*crc32c)(const uint8_t *, size_t) = crc32c_tables;

/* The instruction takes three cycles and can begin anew in each: three lanes of LANE bytes go side by side, and what came
 * of the first two is moved over the bytes behind them, by tables that move a checksum over LANE zero bytes. */
enum { LANE = 256 }; /* longer ones leave the processor's prefetching behind */
static uint32_t lane_tables[4][256];

static void make_lane_tables(void) {
    for (int bit = 0; bit < 32; bit++) {
        uint32_t crc = (uint32_t)1 << bit;
        for (int i = 0; i < LANE; i++) crc = crc >> 8 ^ crc_tables[0][crc & 0xff];
        uint32_t *table = lane_tables[bit / 8], first = (uint32_t)1 << bit % 8;
        for (uint32_t byte = 0; byte < first; byte++) table[first + byte] = table[byte] ^ crc; /* moving is linear */
    }
}

static inline uint64_t over_lane(uint64_t crc) {
    return lane_tables[0][crc & 0xff] ^ lane_tables[1][crc >> 8 & 0xff] ^ lane_tables[2][crc >> 16 & 0xff] ^
           lane_tables[3][crc >> 24 & 0xff];
}

#define CRC32C_BY(step8, step1)                                             \
    uint64_t crc = 0xFFFFFFFFu;                                             \
    for (; length >= 3 * LANE; length -= 3 * LANE, p += 3 * LANE) {         \
        uint64_t second = 0, third = 0;                                     \
        for (const uint8_t *q = p; q < p + LANE; q += 8) {                  \
            crc = step8((uint32_t)crc, load8(q));                           \
            second = step8((uint32_t)second, load8(q + LANE));              \
            third = step8((uint32_t)third, load8(q + 2 * LANE));            \
        }                                                                   \
        crc = over_lane(over_lane(crc) ^ second) ^ third;                   \
    }                                                                       \
    for (; length >= 8; length -= 8, p += 8) crc = step8((uint32_t)crc, load8(p)); \
    for (; length > 0; length--, p++) crc = step1((uint32_t)crc, *p);       \
    return (uint32_t)~crc;

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(const uint8_t *p, size_t length) {
    CRC32C_BY(_mm_crc32_u64, _mm_crc32_u8)
}

static void choose_crc32c(void) {
    make_crc_tables();
    make_lane_tables();
    if (__builtin_cpu_supports("sse4.2")) crc32c = crc32c_sse42;
}
#elif defined(__ARM_FEATURE_CRC32)
static uint32_t crc32c_arm(const uint8_t *p, size_t length) { CRC32C_BY(__crc32cd, __crc32cb) }

static void choose_crc32c(void) {
    make_crc_tables();
    make_lane_tables();
    crc32c = crc32c_arm;
}
#else
static void choose_crc32c(void) { make_crc_tables(); }
#endif

/* ---------------------------------------------------------------- batches */

/* Places in a batch's header (Kafka protocol guide, "Record Batch", magic 2), and its length. */
enum {
    AT_BASE_OFFSET = 0,
    AT_LENGTH = 8,
    AT_MAGIC = 16,
    AT_CRC = 17,
    AT_ATTRIBUTES = 21,
    AT_LAST_OFFSET_DELTA = 23,
    AT_FIRST_TIMESTAMP = 27,
    AT_MAX_TIMESTAMP = 35,
    AT_COUNT = 57,
    HEADER = 61,
    BEFORE_LENGTH_COUNTS = 12, /* the length counts what stands after it */
};

enum { CODEC = 0x07, APPEND_TIME = 0x08, TRANSACTIONAL = 0x10, CONTROL = 0x20 };

static uint64_t big_endian(const uint8_t *p, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value = value << 8 | p[i];
    return value;
}

static int64_t get_i64(const uint8_t *p) { return (int64_t)big_endian(p, 8); }
static int32_t get_i32(const uint8_t *p) { return (int32_t)(uint32_t)big_endian(p, 4); }

/* ---------------------------------------------------------------- Python: memory handed over */

/* The owner of one buffer of a finished column; pyarrow reads it in place and keeps this object alive. */
typedef struct {
    PyObject_HEAD
    Block block;
    Py_ssize_t length;
} Memory;

static void memory_dealloc(Memory *self) {
    block_free(&self->block);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static int memory_getbuffer(Memory *self, Py_buffer *view, int flags) {
    static uint8_t nothing[8];
    return PyBuffer_FillInfo(view, (PyObject *)self, self->block.bytes ? self->block.bytes : nothing, self->length, 1, flags);
}

static PyBufferProcs memory_buffer = {(getbufferproc)memory_getbuffer, NULL};

static PyTypeObject MemoryType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "streaming_lab.reader.decode._columns.Memory",
    .tp_doc = "One finished Arrow buffer.",
    .tp_basicsize = sizeof(Memory),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = (destructor)memory_dealloc,
    .tp_as_buffer = &memory_buffer,
};

/* Gives the block away: what was reserved and not used goes back to the system. */
static PyObject *memory_take(Block *block, size_t length) {
    Memory *memory = PyObject_New(Memory, &MemoryType);
    if (memory == NULL) return NULL;
    size_t kept = length > 0 ? length : 1;
    uint8_t *shrunk = block->bytes ? bytes_resize(block->bytes, block->capacity, kept, block->paged) : NULL;
    memory->block = shrunk ? (Block){shrunk, kept, block->paged} : *block;
    memory->length = (Py_ssize_t)length;
    *block = (Block){NULL, 0, block->paged};
    return (PyObject *)memory;
}

/* ---------------------------------------------------------------- Python: Columns */

static void column_free(Column *column) {
    block_free(&column->values);
    block_free(&column->offsets);
    block_free(&column->validity);
    PyMem_Free(column->name.bytes);
    for (size_t i = 0; i < column->allowed_count; i++) PyMem_Free(column->allowed[i].bytes);
    PyMem_Free(column->allowed);
}

static void columns_dealloc(Columns *self) {
    for (int i = 0; i < self->column_count; i++) column_free(&self->columns[i]);
    PyMem_Free(self->columns);
    column_free(&self->key);
    block_free(&self->offsets);
    block_free(&self->timestamps);
    block_free(&self->odd);
    block_free(&self->tombstones);
    Py_XDECREF(self->odd_list);
    Py_XDECREF(self->tombstone_list);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static bool text_from(PyObject *object, Text *text) {
    char *bytes;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(object, &bytes, &length) < 0) return false;
    text->bytes = PyMem_Malloc((size_t)length + 1);
    if (text->bytes == NULL) return PyErr_NoMemory() != NULL;
    memcpy(text->bytes, bytes, (size_t)length);
    text->length = (size_t)length;
    return true;
}

/* (name: bytes, kind: int, required: bool, allowed: tuple of bytes or None) */
static bool column_from(PyObject *field, Column *column) {
    PyObject *name, *allowed;
    int kind, required;
    if (!PyTuple_Check(field)) {
        PyErr_SetString(PyExc_TypeError, "a field is a tuple (name, kind, required, allowed)");
        return false;
    }
    if (!PyArg_ParseTuple(field, "SipO", &name, &kind, &required, &allowed)) return false;
    if (kind < STRING || kind > INT53) {
        PyErr_Format(PyExc_ValueError, "no such kind of column: %d", kind);
        return false;
    }
    column->kind = (Kind)kind;
    column->values.paged = !has_text(column->kind);
    column->required = required;
    column->filled = -1;
    if (!text_from(name, &column->name)) return false;
    if (allowed == Py_None) return true;
    if (!PyTuple_Check(allowed) || kind != STRING) {
        PyErr_SetString(PyExc_TypeError, "allowed values are a tuple of bytes, of a string column");
        return false;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(allowed);
    column->allowed = PyMem_Calloc((size_t)count + 1, sizeof *column->allowed);
    if (column->allowed == NULL) return PyErr_NoMemory() != NULL;
    for (Py_ssize_t i = 0; i < count; i++, column->allowed_count++)
        if (!text_from(PyTuple_GET_ITEM(allowed, i), &column->allowed[i])) return false;
    return true;
}

static PyObject *columns_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *fields;
    int all_keys, inferred;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) return PyErr_Format(PyExc_TypeError, "Columns takes no keywords");
    if (!PyArg_ParseTuple(args, "O!pp", &PyTuple_Type, &fields, &all_keys, &inferred)) return NULL;
    Columns *self = (Columns *)type->tp_alloc(type, 0); /* all zero */
    if (self == NULL) return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(fields);
    self->all_keys = all_keys;
    self->key.kind = STRING; /* of any bytes: a key is not checked */
    self->offsets.paged = self->timestamps.paged = true;
    self->odd_list = PyList_New(0);
    self->tombstone_list = PyList_New(0);
    self->columns = PyMem_Calloc((size_t)count + 1, sizeof *self->columns);
    if (self->odd_list == NULL || self->tombstone_list == NULL || self->columns == NULL) goto failed;
    for (Py_ssize_t i = 0; i < count; i++) {
        self->column_count++;
        if (!column_from(PyTuple_GET_ITEM(fields, i), &self->columns[i])) goto failed;
        self->columns[i].inferred = inferred;
    }
    return (PyObject *)self;
failed:
    if (!PyErr_Occurred()) PyErr_NoMemory();
    Py_DECREF(self);
    return NULL;
}

/* What was noted becomes Python objects, while its buffer still holds the bytes. */
static bool collect_odd(Columns *self) {
    const Odd *all = (const Odd *)self->odd.bytes;
    for (int64_t i = 0; i < self->odd_count; i++) {
        PyObject *item = Py_BuildValue("(Ly#)", (long long)all[i].row, all[i].value, (Py_ssize_t)all[i].length);
        if (item == NULL || PyList_Append(self->odd_list, item) < 0) {
            Py_XDECREF(item);
            return false;
        }
        Py_DECREF(item);
    }
    self->odd_count = 0;
    return true;
}

static bool collect_tombstones(Columns *self) {
    const Tombstone *all = (const Tombstone *)self->tombstones.bytes;
    for (int64_t i = 0; i < self->tombstone_count; i++) {
        /* y# with NULL is None */
        PyObject *item = Py_BuildValue("(Ly#)", (long long)all[i].offset, all[i].key, (Py_ssize_t)all[i].length);
        if (item == NULL || PyList_Append(self->tombstone_list, item) < 0) {
            Py_XDECREF(item);
            return false;
        }
        Py_DECREF(item);
    }
    self->tombstone_count = 0;
    return true;
}

/* One call at a time: the GIL is released inside, so a second thread could come in. */
static bool enter(Columns *self) {
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "these columns are being filled by another thread");
        return false;
    }
    self->busy = true;
    return true;
}

static bool leave(Columns *self, Outcome outcome) {
    self->busy = false;
    if (outcome == NO_MEMORY) return PyErr_NoMemory() != NULL;
    return collect_odd(self) && collect_tombstones(self);
}

/* ---------------------------------------------------------------- a chunk */

/* How far a walk over a chunk has come. */
typedef struct {
    int64_t start, end;  /* the offsets that are wanted */
    int64_t next_offset; /* the one after the batches so far, at least `start` */
    int64_t at;          /* bytes of the chunk that were read */
    bool transactions;   /* some are known to be aborted: Python must sort them out */
    PyObject *inflate;   /* (codec, compressed records) -> records, or None to pause: the codecs are Python's */
} Walk;

/* The records of a compressed batch. `remaining` bytes of the chunk, as compressed as these, are left to read.
 * Called without the GIL; takes it to have the batch inflated, and to keep what its memory holds of odd rows. */
static Outcome read_compressed(Columns *self, const Batch *batch, const Walk *walk, int codec, const uint8_t *p,
                               const uint8_t *end, size_t remaining) {
    Py_buffer records;
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *compressed = PyMemoryView_FromMemory((char *)p, end - p, PyBUF_READ);
    PyObject *inflated = compressed ? PyObject_CallFunction(walk->inflate, "iO", codec, compressed) : NULL;
    bool paused = inflated == Py_None;
    bool opened = inflated != NULL && !paused && PyObject_GetBuffer(inflated, &records, PyBUF_SIMPLE) == 0;
    Py_XDECREF(compressed);
    Py_XDECREF(inflated); /* `records` holds it */
    if (!opened) PyErr_Clear(); /* the Python decoder meets the same error, and names it */
    PyGILState_Release(gil);
    if (!opened) return paused ? PAUSED : MALFORMED;

    const uint8_t *bytes = records.buf;
    double factor = end > p ? (double)records.len / (double)(end - p) : 1.0;
    Outcome outcome = read_records(self, batch, bytes, bytes + records.len, bytes + records.len,
                                   (size_t)(factor * (double)remaining));
    gil = PyGILState_Ensure();
    if (!collect_odd(self) || !collect_tombstones(self)) {
        PyErr_Clear();
        outcome = NO_MEMORY;
    }
    PyBuffer_Release(&records);
    PyGILState_Release(gil);
    return outcome;
}

/* Reads the whole batches of a chunk; a partial batch at its end is no batch. HAND_OVER: there is one that may be aborted.
 * Checks and skips as streaming_lab.reader.decode.batches.scan_batches does. */
static Outcome walk_batches(Columns *self, const uint8_t *data, int64_t size, Walk *walk) {
    for (int64_t at = 0; size - at >= HEADER;) {
        const uint8_t *batch = data + at;
        int64_t length = (int64_t)get_i32(batch + AT_LENGTH) + BEFORE_LENGTH_COUNTS;
        if (batch[AT_MAGIC] != 2 || length < HEADER) return MALFORMED;
        if (length > size - at) break;
        int64_t base = get_i64(batch + AT_BASE_OFFSET), last_delta = get_i32(batch + AT_LAST_OFFSET_DELTA);
        int64_t count = get_i32(batch + AT_COUNT);
        if (base < 0 || last_delta < 0 || base > INT64_MAX - last_delta - 1 || count < 0) return MALFORMED;
        uint32_t crc = crc32c(batch + AT_ATTRIBUTES, (size_t)(length - AT_ATTRIBUTES));
        if (crc != (uint32_t)get_i32(batch + AT_CRC)) return MALFORMED;
        int64_t before = walk->next_offset;
        if (base + last_delta >= walk->next_offset) walk->next_offset = base + last_delta + 1;
        int attributes = batch[AT_ATTRIBUTES + 1];
        if (walk->transactions && (attributes & (TRANSACTIONAL | CONTROL))) return HAND_OVER;
        bool wanted = count > 0 && walk->next_offset > walk->start && base < walk->end && !(attributes & CONTROL);
        if (wanted) {
            Batch what = {
                .base_offset = base,
                .first_timestamp = get_i64(batch + AT_FIRST_TIMESTAMP),
                .append_time = get_i64(batch + AT_MAX_TIMESTAMP),
                .use_append_time = attributes & APPEND_TIME,
                .count = count,
                .start = walk->start,
                .end = walk->end,
            };
            const uint8_t *p = batch + HEADER, *end = batch + length;
            size_t remaining = (size_t)(size - at);
            int codec = attributes & CODEC;
            Outcome outcome = codec ? read_compressed(self, &what, walk, codec, p, end, remaining)
                                    : read_records(self, &what, p, end, data + size, remaining);
            if (outcome == PAUSED) walk->next_offset = before;
            if (outcome != END) return outcome;
        }
        walk->at = at += length;
    }
    return END;
}

/* ---------------------------------------------------------------- Python: methods */

PyDoc_STRVAR(read_batches_doc,
             "read_batches(data, start, end, transactions, inflate) -> (outcome, next_offset, bytes read)\n\n"
             "Read the whole record batches of `data`: the rows of the offsets [start, end).\n"
             "inflate(codec, compressed) -> records, bytes-like: called for each compressed batch; None pauses before it.\n"
             "outcome: END; PAUSED (finish() these, go on behind the bytes read with new ones); HAND_OVER (a batch is transactional, and `transactions` says that some are aborted) or\n"
             "MALFORMED (let the Python decoder name it). Unless it is END or PAUSED, throw these columns away.");

static PyObject *columns_read_batches(Columns *self, PyObject *args) {
    Py_buffer data;
    long long start, end;
    int transactions;
    PyObject *inflate;
    if (!PyArg_ParseTuple(args, "y*LLpO", &data, &start, &end, &transactions, &inflate)) return NULL;
    PyObject *result = NULL;
    if (enter(self)) {
        Walk walk = {start, end, start, 0, transactions, inflate};
        Outcome outcome;
        Py_BEGIN_ALLOW_THREADS
        outcome = walk_batches(self, data.buf, data.len, &walk);
        Py_END_ALLOW_THREADS
        if (leave(self, outcome)) result = Py_BuildValue("(iLL)", (int)outcome, (long long)walk.next_offset, (long long)walk.at);
    }
    PyBuffer_Release(&data);
    return result;
}

PyDoc_STRVAR(read_records_doc,
             "read_records(records, base_offset, count, timestamp, is_append_time, start, end) -> outcome\n\n"
             "Read the records of one batch that Python has opened: END or MALFORMED.\n"
             "timestamp: the batch's first, or (is_append_time) the one all its records have.");

static PyObject *columns_read_records(Columns *self, PyObject *args) {
    Py_buffer data;
    long long base, count, timestamp, start, end;
    int is_append_time;
    if (!PyArg_ParseTuple(args, "y*LLLpLL", &data, &base, &count, &timestamp, &is_append_time, &start, &end))
        return NULL;
    PyObject *result = NULL;
    if (enter(self)) {
        Batch what = {base, timestamp, timestamp, is_append_time, count, start, end};
        const uint8_t *p = data.buf;
        Outcome outcome;
        Py_BEGIN_ALLOW_THREADS
        outcome = read_records(self, &what, p, p + data.len, p + data.len, (size_t)data.len);
        Py_END_ALLOW_THREADS
        if (leave(self, outcome)) result = PyLong_FromLong(outcome);
    }
    PyBuffer_Release(&data);
    return result;
}

/* Few rows have none: one step for eight rows that all have a value. */
static int64_t count_nulls(const Column *column, int64_t rows) {
    int64_t nulls = 0;
    const uint8_t *bits = column->validity.bytes;
    for (int64_t i = 0; i < rows / 8; i++)
        for (uint8_t missing = (uint8_t)~bits[i]; missing; missing &= (uint8_t)(missing - 1)) nulls++;
    for (int64_t row = rows & ~7; row < rows; row++) nulls += !(bits[row >> 3] >> (row & 7) & 1);
    return nulls;
}

/* (nulls, validity or None, offsets or None, values) of one column, for pyarrow.Array.from_buffers. */
static PyObject *column_take(Column *column, int64_t rows) {
    int64_t nulls = rows > 0 ? count_nulls(column, rows) : 0;
    size_t bitmap = ((size_t)rows + 7) / 8;
    PyObject *validity = nulls > 0 ? memory_take(&column->validity, bitmap) : Py_NewRef(Py_None);
    PyObject *offsets = has_text(column->kind) ? memory_take(&column->offsets, rows > 0 ? 8 * ((size_t)rows + 1) : 0)
                                               : Py_NewRef(Py_None);
    size_t length = has_text(column->kind) ? (size_t)column->used : column->kind == BOOL ? bitmap : 8 * (size_t)rows;
    PyObject *values = memory_take(&column->values, length);
    column->used = 0;
    column->filled = -1;
    if (validity && offsets && values) return Py_BuildValue("(LNNN)", (long long)nulls, validity, offsets, values);
    Py_XDECREF(validity);
    Py_XDECREF(offsets);
    Py_XDECREF(values);
    return NULL;
}

PyDoc_STRVAR(finish_doc,
             "finish() -> (rows, offsets, timestamps, key, columns, odd, tombstones)\n\n"
             "Hand over what was read and begin anew. offsets, timestamps: buffers of int64; key and each column:\n"
             "(nulls, validity | None, offsets | None, values), strings with 64-bit offsets; odd: [(row, value)];\n"
             "tombstones: [(offset, key | None)]. With 0 rows the buffers are empty.");

static PyObject *columns_finish(Columns *self, PyObject *Py_UNUSED(ignored)) {
    if (!enter(self)) return NULL;
    self->busy = false;
    int64_t rows = self->rows;
    self->rows = 0;
    PyObject *list = PyList_New(self->column_count);
    for (int i = 0; list != NULL && i < self->column_count; i++) {
        PyObject *column = column_take(&self->columns[i], rows);
        if (column == NULL) Py_CLEAR(list);
        else PyList_SET_ITEM(list, i, column);
    }
    PyObject *odd = self->odd_list, *tombstones = self->tombstone_list;
    self->odd_list = PyList_New(0);
    self->tombstone_list = PyList_New(0);
    PyObject *offsets = memory_take(&self->offsets, 8 * (size_t)rows);
    PyObject *timestamps = memory_take(&self->timestamps, 8 * (size_t)rows);
    PyObject *key = column_take(&self->key, rows);
    /* N steals a reference, and gives up all of them when one is NULL */
    return Py_BuildValue("(LNNNNNN)", (long long)rows, offsets, timestamps, key, list, odd, tombstones);
}

static PyMethodDef columns_methods[] = {
    {"read_batches", (PyCFunction)columns_read_batches, METH_VARARGS, read_batches_doc},
    {"read_records", (PyCFunction)columns_read_records, METH_VARARGS, read_records_doc},
    {"finish", (PyCFunction)columns_finish, METH_NOARGS, finish_doc},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject ColumnsType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "streaming_lab.reader.decode._columns.Columns",
    .tp_doc = "Columns(fields, all_keys, inferred): Arrow columns that are being filled.\n\n"
              "A field is (name, kind, required, allowed | None); all_keys: unknown members make a row odd;\n"
              "inferred: so do integers that float64 would round.",
    .tp_basicsize = sizeof(Columns),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = columns_new,
    .tp_dealloc = (destructor)columns_dealloc,
    .tp_methods = columns_methods,
};

PyDoc_STRVAR(crc32c_doc, "crc32c(data) -> (checksum, the same by tables): two ways, so that a test can compare them on any machine.");

static PyObject *module_crc32c(PyObject *Py_UNUSED(module), PyObject *args) {
    Py_buffer data;
    if (!PyArg_ParseTuple(args, "y*", &data)) return NULL;
    uint32_t crc = crc32c(data.buf, (size_t)data.len);
    uint32_t by_tables = crc32c_tables(data.buf, (size_t)data.len);
    PyBuffer_Release(&data);
    return Py_BuildValue("(kk)", (unsigned long)crc, (unsigned long)by_tables);
}

static PyMethodDef module_methods[] = {
    {"crc32c", module_crc32c, METH_VARARGS, crc32c_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "streaming_lab.reader.decode._columns",
    .m_doc = "Record batches to Arrow columns; see the comment at the top of its source.",
    .m_size = -1,
    .m_methods = module_methods,
};

PyMODINIT_FUNC PyInit__columns(void) {
    choose_crc32c();
#if defined(_WIN32)
    plain_locale = _create_locale(LC_ALL, "C");
#else
    plain_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
#endif
    if (!plain_locale) return PyErr_NoMemory();
    if (PyType_Ready(&MemoryType) < 0 || PyType_Ready(&ColumnsType) < 0) return NULL;
    PyObject *module = PyModule_Create(&module_definition);
    if (module == NULL) return NULL;
    if (PyModule_AddObjectRef(module, "Columns", (PyObject *)&ColumnsType) < 0 ||
        PyModule_AddStringConstant(module, "SOURCE_SHA256", TEXT(SOURCE_SHA256)) < 0 ||
        PyModule_AddIntConstant(module, "END", END) < 0 || PyModule_AddIntConstant(module, "HAND_OVER", HAND_OVER) < 0 ||
        PyModule_AddIntConstant(module, "MALFORMED", MALFORMED) < 0 || PyModule_AddIntConstant(module, "PAUSED", PAUSED) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
