package dev.taskbundler.core.findings

import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue

/** [work] has to end with a finding of this code, whose sentence has [words] in it; returns it. */
fun assertRefused(code: FindingCode, vararg words: String, work: () -> Unit): Finding {
    val finding = assertThrows(FindingException::class.java) { work() }.finding
    assertEquals(finding.message, code, finding.code)
    for (word in words) assertTrue("no \"$word\" in: ${finding.message}", word in finding.message)
    return finding
}
