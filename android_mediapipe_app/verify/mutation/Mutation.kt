package dev.taskbundler.verify

import org.objectweb.asm.ClassReader
import org.objectweb.asm.ClassWriter
import org.objectweb.asm.Opcodes
import org.objectweb.asm.tree.AbstractInsnNode
import org.objectweb.asm.tree.ClassNode
import org.objectweb.asm.tree.InsnNode
import org.objectweb.asm.tree.IntInsnNode
import org.objectweb.asm.tree.JumpInsnNode
import org.objectweb.asm.tree.LdcInsnNode
import org.objectweb.asm.tree.LineNumberNode
import org.objectweb.asm.tree.MethodNode
import org.objectweb.asm.tree.VarInsnNode

/** One instruction of a class that can be changed for the worse: the [number]th such instruction, at a [line] of the source. */
class Mutation(val className: String, val source: String, val number: Int, val line: Int, val method: String, val what: String) {
    override fun toString() = "$source:$line $method: $what"
}

/** Each operator and condition, and what stands in for it: other arithmetic, a bound one off, the opposite. */
private val STAND_INS = mapOf(
    Opcodes.IADD to Opcodes.ISUB, Opcodes.ISUB to Opcodes.IADD, Opcodes.IMUL to Opcodes.IADD, Opcodes.IDIV to Opcodes.IMUL,
    Opcodes.LADD to Opcodes.LSUB, Opcodes.LSUB to Opcodes.LADD, Opcodes.LMUL to Opcodes.LADD,
    Opcodes.FADD to Opcodes.FSUB, Opcodes.FSUB to Opcodes.FADD, Opcodes.FMUL to Opcodes.FDIV, Opcodes.FDIV to Opcodes.FMUL,
    Opcodes.DADD to Opcodes.DSUB, Opcodes.DSUB to Opcodes.DADD, Opcodes.DMUL to Opcodes.DDIV, Opcodes.DDIV to Opcodes.DMUL,
    Opcodes.IAND to Opcodes.IOR, Opcodes.IOR to Opcodes.IAND, Opcodes.LAND to Opcodes.LOR, Opcodes.LOR to Opcodes.LAND,
    Opcodes.ISHL to Opcodes.ISHR, Opcodes.ISHR to Opcodes.ISHL, Opcodes.IUSHR to Opcodes.ISHL, Opcodes.LSHL to Opcodes.LSHR,
    Opcodes.IFLT to Opcodes.IFLE, Opcodes.IFLE to Opcodes.IFLT, Opcodes.IFGE to Opcodes.IFGT, Opcodes.IFGT to Opcodes.IFGE,
    Opcodes.IF_ICMPLT to Opcodes.IF_ICMPLE, Opcodes.IF_ICMPLE to Opcodes.IF_ICMPLT,
    Opcodes.IF_ICMPGE to Opcodes.IF_ICMPGT, Opcodes.IF_ICMPGT to Opcodes.IF_ICMPGE,
    Opcodes.IFEQ to Opcodes.IFNE, Opcodes.IFNE to Opcodes.IFEQ, Opcodes.IF_ICMPEQ to Opcodes.IF_ICMPNE, Opcodes.IF_ICMPNE to Opcodes.IF_ICMPEQ,
)

/** What the compiler writes by itself, which no test is about. */
private val GENERATED = Regex("equals|hashCode|toString|copy|component\\d+|<clinit>|.*\\\$default|values|valueOf")

private const val GENERATED_ACCESS = Opcodes.ACC_BRIDGE or Opcodes.ACC_SYNTHETIC

/** Every mutation of a class whose source has [lines] lines. */
fun mutationsOf(bytes: ByteArray, lines: Int): List<Mutation> {
    val node = parsed(bytes)
    val source = node.name.substringBeforeLast('/') + "/" + node.sourceFile
    return places(node, lines).mapIndexed { number, (method, instruction, line) ->
        Mutation(node.name, source, number, line, method.name, "${described(instruction)} becomes ${described(standIn(instruction)!!)}")
    }
}

/** The class with one [mutation]. */
fun mutated(bytes: ByteArray, lines: Int, mutation: Mutation): ByteArray {
    val node = parsed(bytes)
    val (method, instruction) = places(node, lines)[mutation.number]
    method.instructions.set(instruction, standIn(instruction))
    return ClassWriter(0).also { node.accept(it) }.toByteArray()
}

private fun parsed(bytes: ByteArray) = ClassNode().also { ClassReader(bytes).accept(it, 0) }

private fun places(node: ClassNode, lines: Int): List<Triple<MethodNode, AbstractInsnNode, Int>> = node.methods
    .filter { !GENERATED.matches(it.name) && it.access and GENERATED_ACCESS == 0 }
    .flatMap { method ->
        var line = 0
        method.instructions.toArray().mapNotNull { instruction ->
            if (instruction is LineNumberNode) line = instruction.line
            // Lines after the last are code that was inlined from elsewhere.
            Triple(method, instruction, line).takeIf { line in 1..lines && standIn(instruction) != null && !isCompilers(instruction, method) }
        }
    }

/** Whether a number belongs to the compiler: a default value's place and mask in front of a null, or a mark of inlined code. */
private fun isCompilers(instruction: AbstractInsnNode, method: MethodNode): Boolean {
    val next = instruction.next
    if (next is VarInsnNode && next.opcode == Opcodes.ISTORE) {
        return method.localVariables.orEmpty().any { it.index == next.`var` && it.name.startsWith("\$i\$") }
    }
    return generateSequence(instruction) { it.next }.dropWhile { isSmallNumber(it) }.first().opcode == Opcodes.ACONST_NULL
}

private fun isSmallNumber(instruction: AbstractInsnNode) = instruction is IntInsnNode || instruction.opcode in Opcodes.ICONST_0..Opcodes.ICONST_5

private fun standIn(instruction: AbstractInsnNode): AbstractInsnNode? = when (instruction) {
    is InsnNode -> when (val opcode = instruction.opcode) {
        Opcodes.ICONST_1 -> InsnNode(Opcodes.ICONST_0)
        in Opcodes.ICONST_0..Opcodes.ICONST_4 -> InsnNode(opcode + 1)
        else -> STAND_INS[opcode]?.let { InsnNode(it) }
    }

    is IntInsnNode -> if (instruction.opcode == Opcodes.NEWARRAY || instruction.operand == Byte.MAX_VALUE.toInt()) {
        null
    } else {
        IntInsnNode(instruction.opcode, instruction.operand + 1)
    }

    is LdcInsnNode -> when (val value = instruction.cst) {
        is Int -> LdcInsnNode(value + 1)
        is Long -> LdcInsnNode(value + 1)
        is Float -> LdcInsnNode(value * 2)
        is Double -> LdcInsnNode(value * 2)
        else -> null
    }

    is JumpInsnNode -> STAND_INS[instruction.opcode]?.let { JumpInsnNode(it, instruction.label) }

    else -> null
}

private fun described(instruction: AbstractInsnNode): String = when (instruction) {
    is IntInsnNode -> "${instruction.operand}"

    is LdcInsnNode -> "${instruction.cst}"

    else -> if (instruction.opcode in
        Opcodes.ICONST_0..Opcodes.ICONST_5
    ) {
        "${instruction.opcode - Opcodes.ICONST_0}"
    } else {
        "instruction ${instruction.opcode}"
    }
}
